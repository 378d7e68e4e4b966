package hearth

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"sync"
	"time"
)

type invokeMessage struct {
	ID          string `json:"id"`
	DeadlineMs  int64  `json:"deadlineMs"`
	ContentType string `json:"contentType"`
	TraceParent string `json:"traceparent"`
	Kind        string `json:"kind"`
}

// An invocation gathers its event, runs the handler and sends the answer.
type invocation struct {
	message invokeMessage
	half    *sendHalf
	// Of the reading goroutine alone.
	event            []byte
	bytesSinceCredit int
	isWhole          bool

	mutex       sync.Mutex
	isCancelled bool
	cancel      context.CancelFunc
}

func (i *invocation) receive(chunk []byte, isLast bool) {
	if i.event == nil {
		i.event = chunk
	} else {
		i.event = append(i.event, chunk...)
	}
	i.isWhole = isLast
	i.bytesSinceCredit += len(chunk)
	if isLast || i.bytesSinceCredit < creditStepBytes {
		return
	}
	var credit [4]byte
	binary.BigEndian.PutUint32(credit[:], uint32(i.bytesSinceCredit))
	i.bytesSinceCredit = 0
	_ = i.half.writer.send(typeCredit, 0, i.half.stream, credit[:])
}

// stop is the host's CANCEL: the handler hears of it by its context, and what it still sends goes nowhere.
func (i *invocation) stop() {
	i.half.abandon()
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.isCancelled = true
	if i.cancel != nil {
		i.cancel()
	}
}

func (i *invocation) context(about bindFacts) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(0, i.message.DeadlineMs*int64(time.Millisecond)))
	i.mutex.Lock()
	i.cancel = cancel
	if i.isCancelled {
		cancel()
	}
	i.mutex.Unlock()
	facts := about.contextOf(i.message)
	ctx = context.WithValue(ctx, contextKey{}, facts)
	if DecorateContext != nil {
		ctx = DecorateContext(ctx, facts)
	}
	return ctx, cancel
}

// run calls the handler and answers. True after a panic: what the program holds may be half changed then, so it must not go on.
func (i *invocation) run(call handler, about bindFacts) (hasPanicked bool) {
	defer func() {
		if thrown := recover(); thrown != nil {
			hasPanicked = true
			i.fail(describePanic(thrown))
		}
	}()
	ctx, cancel := i.context(about)
	defer cancel()
	result, err := call(ctx, i.event, i.message.ContentType)
	if err != nil {
		i.fail(describe(err))
		return false
	}
	if text, ok := result.(json.RawMessage); ok {
		_ = i.half.end(text)
		return false
	}
	if reader, ok := result.(io.Reader); ok {
		i.stream(reader)
	}
	return false
}

// stream sends what `reader` gives as it comes, as fast as the host takes it.
func (i *invocation) stream(reader io.Reader) {
	if closer, ok := reader.(io.Closer); ok {
		defer closer.Close()
	}
	contentType := "application/octet-stream"
	if typed, ok := reader.(interface{ ContentType() string }); ok {
		contentType = typed.ContentType()
	}
	head, err := json.Marshal(map[string]interface{}{"status": 200, "headers": [][2]string{{"content-type", contentType}}})
	if err == nil {
		err = i.half.writer.send(typeHead, 0, i.half.stream, head)
	}
	if err == nil {
		// The reader's own WriteTo would hand over pieces of any size just as well.
		_, err = io.Copy(i.half, reader)
	}
	if err != nil {
		i.fail(describe(err))
		return
	}
	_ = i.half.end(nil)
}

func (i *invocation) fail(what failure) {
	_ = i.half.writer.send(typeFail, flagFin, i.half.stream, what.payload())
}
