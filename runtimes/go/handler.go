package hearth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"reflect"
	"strings"
)

// A handler turns an event into an answer; an io.Reader is streamed, everything else is JSON already.
type handler func(ctx context.Context, event []byte, contentType string) (interface{}, error)

type rawHandler interface {
	Invoke(ctx context.Context, event []byte) ([]byte, error)
}

var (
	contextType = reflect.TypeOf((*context.Context)(nil)).Elem()
	errorType   = reflect.TypeOf((*error)(nil)).Elem()
	bytesType   = reflect.TypeOf([]byte(nil))
)

// newHandler takes every signature that Lambda's Go library takes:
//
//	func ()                          func () error
//	func (TIn)                       func (TIn) error
//	func (context.Context)           func (context.Context) error
//	func (context.Context, TIn)      func (context.Context, TIn) error
//
// each also with (TOut, error), and values with Invoke(context.Context, []byte) ([]byte, error).
func newHandler(given interface{}) (handler, error) {
	if given == nil {
		return nil, invalidHandler("it is nil")
	}
	if raw, ok := given.(rawHandler); ok {
		return func(ctx context.Context, event []byte, _ string) (interface{}, error) {
			answer, err := raw.Invoke(ctx, event)
			return json.RawMessage(answer), err
		}, nil
	}
	function := reflect.ValueOf(given)
	kind := function.Type()
	if kind.Kind() != reflect.Func {
		return nil, invalidHandler(fmt.Sprintf("it is a %s, not a function", kind.Kind()))
	}
	takesContext, err := checkArguments(kind)
	if err != nil {
		return nil, err
	}
	if err := checkResults(kind); err != nil {
		return nil, err
	}
	return func(ctx context.Context, event []byte, contentType string) (interface{}, error) {
		var arguments []reflect.Value
		if takesContext {
			arguments = append(arguments, reflect.ValueOf(ctx))
		}
		if kind.NumIn() > len(arguments) {
			argument := reflect.New(kind.In(kind.NumIn() - 1))
			if err := readEvent(event, contentType, argument); err != nil {
				return nil, err
			}
			arguments = append(arguments, argument.Elem())
		}
		return resultOf(function.Call(arguments))
	}, nil
}

func invalidHandler(why string) error {
	return &runtimeError{"Runtime.InvalidHandler", "The handler cannot be called: " + why + "."}
}

func checkArguments(kind reflect.Type) (takesContext bool, err error) {
	count := kind.NumIn()
	if count > 2 || kind.IsVariadic() {
		return false, invalidHandler(fmt.Sprintf("it takes %d arguments, at most a context.Context and an event can be given", count))
	}
	// An event declared as interface{} is no context: contextType itself must say what is wanted.
	takesContext = count > 0 && kind.In(0).Kind() == reflect.Interface && kind.In(0).NumMethod() > 0 && contextType.Implements(kind.In(0))
	if count == 2 && !takesContext {
		return false, invalidHandler(fmt.Sprintf("the first of two arguments must be a context.Context, not %s", kind.In(0)))
	}
	return takesContext, nil
}

func checkResults(kind reflect.Type) error {
	count := kind.NumOut()
	if count > 2 {
		return invalidHandler(fmt.Sprintf("it returns %d values, at most a result and an error can be taken", count))
	}
	if count > 0 && !kind.Out(count-1).Implements(errorType) {
		return invalidHandler(fmt.Sprintf("the last value it returns must be an error, not %s", kind.Out(count-1)))
	}
	return nil
}

func readEvent(event []byte, contentType string, target reflect.Value) error {
	if !isJSON(contentType) {
		switch {
		case target.Elem().Type() == bytesType:
			target.Elem().SetBytes(event)
			return nil
		case target.Elem().Kind() == reflect.String:
			target.Elem().SetString(string(event))
			return nil
		}
		if _, takesRaw := target.Interface().(*json.RawMessage); takesRaw {
			target.Elem().SetBytes(event)
			return nil
		}
		return &runtimeError{"Runtime.UnmarshalError", fmt.Sprintf("An event of type %q can be given as []byte or string, not as %s.", contentType, target.Elem().Type())}
	}
	if len(bytes.TrimSpace(event)) == 0 {
		event = []byte("{}")
		if kind := target.Elem().Kind(); kind != reflect.Struct && kind != reflect.Map && kind != reflect.Interface {
			return nil
		}
	}
	if err := json.Unmarshal(event, target.Interface()); err != nil {
		return &runtimeError{"Runtime.UnmarshalError", "The event does not fit: " + err.Error()}
	}
	return nil
}

func isJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

func resultOf(values []reflect.Value) (interface{}, error) {
	if len(values) > 0 {
		if err, ok := values[len(values)-1].Interface().(error); ok && err != nil {
			return nil, err
		}
	}
	if len(values) < 2 {
		return json.RawMessage("null"), nil
	}
	result := values[0].Interface()
	if reader, ok := result.(io.Reader); ok {
		if _, marshals := result.(json.Marshaler); !marshals && !isNil(values[0]) {
			return reader, nil
		}
	}
	text, err := json.Marshal(result)
	if err != nil {
		return nil, &runtimeError{"Runtime.MarshalError", "The result has no JSON: " + err.Error()}
	}
	return json.RawMessage(text), nil
}

func isNil(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Ptr, reflect.Interface, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		return value.IsNil()
	}
	return false
}
