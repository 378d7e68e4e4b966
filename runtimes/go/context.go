package hearth

import "context"

// Context is what the platform says of one invocation. The deadline is that of the context.Context itself.
type Context struct {
	RequestID          string
	FunctionName       string
	FunctionVersion    string
	InvokedFunctionArn string
	MemoryMiB          int
	LogGroup           string
	LogStream          string
	// W3C traceparent of the caller; empty without one.
	TraceParent string
	// Media type of the event as it came.
	ContentType string
}

type contextKey struct{}

// FromContext gives what the platform says of the invocation that `ctx` belongs to.
func FromContext(ctx context.Context) (*Context, bool) {
	found, ok := ctx.Value(contextKey{}).(*Context)
	return found, ok
}

// DecorateContext, where it is set before Start, puts more into each invocation's context: other libraries' keys.
var DecorateContext func(context.Context, *Context) context.Context

var beforeSnapshot, afterRestore []func()

// BeforeSnapshot has `hook` called before the machine that this program runs in is frozen to a snapshot.
func BeforeSnapshot(hook func()) { beforeSnapshot = append(beforeSnapshot, hook) }

// AfterRestore has `hook` called in each machine that was made from a snapshot.
func AfterRestore(hook func()) { afterRestore = append(afterRestore, hook) }
