package hearth

import (
	"encoding/json"
	"reflect"
	"runtime"
	"strconv"
	"strings"
)

const (
	messageBytesMax = 16384
	stackLinesMax   = 64
)

// A runtimeError is what the runtime itself says of user code.
type runtimeError struct {
	name, text string
}

func (e *runtimeError) Error() string { return e.text }

type failure struct {
	ErrorType    string   `json:"errorType"`
	ErrorMessage string   `json:"errorMessage"`
	StackTrace   []string `json:"stackTrace"`
	Phase        string   `json:"phase,omitempty"`
}

// describe gives any error within the bounds of FAIL.
func describe(err error) failure {
	if own, ok := err.(*runtimeError); ok {
		return failure{ErrorType: own.name, ErrorMessage: cut(own.text, messageBytesMax), StackTrace: []string{}}
	}
	return failure{ErrorType: cut(nameOf(err), 256), ErrorMessage: cut(err.Error(), messageBytesMax), StackTrace: []string{}}
}

// describePanic is called while the panic unwinds: the stack is that of the user's code.
func describePanic(value interface{}) failure {
	found := failure{ErrorType: cut(nameOf(value), 256), StackTrace: stackBelow(4)}
	switch value := value.(type) {
	case error:
		found.ErrorMessage = cut(value.Error(), messageBytesMax)
	case string:
		found.ErrorMessage = cut(value, messageBytesMax)
	default:
		text, err := json.Marshal(value)
		if err != nil {
			text = []byte(nameOf(value))
		}
		found.ErrorMessage = cut(string(text), messageBytesMax)
	}
	return found
}

func nameOf(value interface{}) string {
	kind := reflect.TypeOf(value)
	if kind == nil {
		return "nil"
	}
	if kind.Kind() == reflect.Ptr {
		kind = kind.Elem()
	}
	if kind.Name() == "" {
		return kind.String()
	}
	return kind.Name()
}

// stackBelow has the callers as `function (file:line)`, up to this runtime's own call of the handler.
func stackBelow(skip int) []string {
	lines := []string{}
	counters := make([]uintptr, stackLinesMax)
	frames := runtime.CallersFrames(counters[:runtime.Callers(skip, counters)])
	for {
		call, more := frames.Next()
		if call.Function == "reflect.Value.call" || call.Function == "" {
			break
		}
		if !strings.HasPrefix(call.Function, "runtime.") {
			lines = append(lines, cut(call.Function+" ("+call.File+":"+strconv.Itoa(call.Line)+")", 1024))
		}
		if !more {
			break
		}
	}
	return lines
}

// payload is FAIL's; shortened where escapes make it longer than a frame.
func (f failure) payload() []byte {
	text, err := json.Marshal(f)
	if err != nil || len(text) > payloadBytesMax {
		f.ErrorMessage, f.StackTrace = cut(f.ErrorMessage, 2048), []string{}
		text, _ = json.Marshal(f)
	}
	return text
}

func cut(text string, bytesMax int) string {
	if len(text) <= bytesMax {
		return text
	}
	return strings.ToValidUTF8(text[:bytesMax-3], "") + "..."
}
