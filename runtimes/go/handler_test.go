package hearth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

type in struct{ Name string }
type out struct {
	Hello string `json:"hello"`
}

func call(t *testing.T, given interface{}, event, contentType string) (string, error) {
	made, err := newHandler(given)
	if err != nil {
		t.Fatal(err)
	}
	result, err := made(context.Background(), []byte(event), contentType)
	if reader, ok := result.(io.Reader); ok {
		text, _ := io.ReadAll(reader)
		return "stream:" + string(text), err
	}
	text, _ := result.(json.RawMessage)
	return string(text), err
}

func TestNewHandlerTakesEverySignatureOfLambda(t *testing.T) {
	said := errors.New("no")
	for name, each := range map[string]struct {
		handler interface{}
		want    string
		err     error
	}{
		"()":              {func() {}, "null", nil},
		"() error":        {func() error { return said }, "", said},
		"() (T, error)":   {func() (out, error) { return out{"x"}, nil }, `{"hello":"x"}`, nil},
		"(T)":             {func(in) {}, "null", nil},
		"(T) error":       {func(in) error { return nil }, "null", nil},
		"(T) (T, error)":  {func(i in) (out, error) { return out{i.Name}, nil }, `{"hello":"you"}`, nil},
		"(*T)":            {func(i *in) (*out, error) { return &out{i.Name}, nil }, `{"hello":"you"}`, nil},
		"(any)":           {func(i interface{}) (interface{}, error) { return i, nil }, `{"name":"you"}`, nil},
		"(ctx)":           {func(context.Context) {}, "null", nil},
		"(ctx) error":     {func(context.Context) error { return said }, "", said},
		"(ctx, T)":        {func(context.Context, in) {}, "null", nil},
		"(ctx, T) error":  {func(context.Context, in) error { return nil }, "null", nil},
		"(ctx, T) (T, e)": {func(_ context.Context, i in) (out, error) { return out{i.Name}, nil }, `{"hello":"you"}`, nil},
		"raw":             {func(i json.RawMessage) (json.RawMessage, error) { return i, nil }, `{"name":"you"}`, nil},
		"reader": {func() (io.Reader, error) {
			return strings.NewReader("a"), nil
		}, "stream:a", nil},
		"buffer": {func() (*bytes.Buffer, error) { return bytes.NewBufferString("b"), nil }, "stream:b", nil},
	} {
		got, err := call(t, each.handler, `{"name":"you"}`, "application/json")
		if got != each.want || err != each.err {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

func TestNewHandlerRefusesWhatCannotBeCalledAndSaysWhy(t *testing.T) {
	for want, handler := range map[string]interface{}{
		"it is nil":                         nil,
		"it is a int, not a function":       7,
		"it takes 3 arguments":              func(context.Context, in, in) {},
		"must be a context.Context, not he": func(in, in) {},
		"must be an error, not string":      func() string { return "" },
		"it returns 3 values":               func() (int, int, error) { return 0, 0, nil },
	} {
		if _, err := newHandler(handler); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestAnEventThatIsNotJSONComesAsBytesOrText(t *testing.T) {
	if got, err := call(t, func(b []byte) (string, error) { return string(b), nil }, "\x89PNG", "image/png"); got != `"\ufffdPNG"` || err != nil {
		t.Error(got, err)
	}
	if _, err := call(t, func(in) {}, "x", "image/png"); err == nil || !strings.Contains(err.Error(), `"image/png"`) {
		t.Error(err)
	}
	if _, err := call(t, func(in) {}, "{", "application/json"); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Error(err)
	}
}
