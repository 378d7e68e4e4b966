// Package hearth runs a Go handler in an Instance: it speaks the guest protocol (docs/reference/guest-protocol.md) on fd 3, from READY on.
// HELLO, CONFIGURE and BIND are done by whoever started the program; what BIND said is in the environment.
package hearth

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const channelFd = 3

// bindFacts is what this runtime needs of BIND.
type bindFacts struct {
	Function  string `json:"function"`
	Version   string `json:"version"`
	MemoryMib int    `json:"memoryMib"`
	LogGroup  string `json:"logGroup"`
	LogStream string `json:"logStream"`
	Region    string `json:"region"`
	AccountID string `json:"accountId"`
}

func (b bindFacts) contextOf(message invokeMessage) *Context {
	return &Context{
		RequestID:          message.ID,
		FunctionName:       b.Function,
		FunctionVersion:    b.Version,
		InvokedFunctionArn: "arn:aws:lambda:" + b.Region + ":" + b.AccountID + ":function:" + b.Function,
		MemoryMiB:          b.MemoryMib,
		LogGroup:           b.LogGroup,
		LogStream:          b.LogStream,
		TraceParent:        message.TraceParent,
		ContentType:        message.ContentType,
	}
}

// rebind is BIND as a later host sends it, to a program that runs already.
type rebind struct {
	bindFacts
	Project  string            `json:"project"`
	Handler  string            `json:"handler"`
	TaskRoot string            `json:"taskRoot"`
	APIURL   string            `json:"apiUrl"`
	Env      map[string]string `json:"env"`
}

type program struct {
	writer  *frameWriter
	call    handler
	waiting chan *invocation
	running int32
	// Open streams; of the reading goroutine, but for the removal.
	mutex sync.Mutex
	open  map[uint32]*invocation
	facts bindFacts
}

// Start serves `handler` until the host ends the program; it never returns. See newHandler for the signatures.
func Start(handler interface{}) {
	startedAt := time.Now()
	channel := fdChannel(channelFd)
	p := &program{
		writer: &frameWriter{target: channel, buffer: make([]byte, 0, 4096)},
		// The host has one invocation under way at a time; the next may come before the last is forgotten here.
		waiting: make(chan *invocation, 16),
		open:    map[uint32]*invocation{},
	}
	if err := json.Unmarshal([]byte(os.Getenv("HEARTH_BIND")), &p.facts); err != nil {
		fmt.Fprintln(os.Stderr, "hearth: HEARTH_BIND is not set: this program is started by Hearth, as hearth-bootstrap.")
		os.Exit(1)
	}
	_ = os.Unsetenv("HEARTH_BIND")
	call, err := newHandler(handler)
	if err != nil {
		what := describe(err)
		what.Phase = "code_load"
		_ = p.writer.send(typeFail, 0, 0, what.payload())
		os.Exit(1)
	}
	p.call = call
	p.ready(startedAt)
	go p.work()
	p.serve(channel)
}

func (p *program) ready(since time.Time) {
	p.sendJSON(typeReady, map[string]interface{}{"loadMs": float64(time.Since(since)) / float64(time.Millisecond)})
}

// work runs invocations one after the other, while serve goes on to listen.
func (p *program) work() {
	for next := range p.waiting {
		atomic.StoreInt32(&p.running, 1)
		var hasPanicked bool
		if next.message.Kind == "invoke" {
			hasPanicked = next.run(p.call, p.factsNow())
		} else {
			next.answerPlatform()
		}
		p.mutex.Lock()
		if p.open[next.half.stream] == next {
			delete(p.open, next.half.stream)
		}
		p.mutex.Unlock()
		atomic.StoreInt32(&p.running, 0)
		if hasPanicked {
			os.Exit(1)
		}
	}
}

func (p *program) factsNow() bindFacts {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.facts
}

func (p *program) serve(channel io.Reader) {
	for {
		next, err := readFrame(channel)
		if err == io.EOF {
			os.Exit(0)
		}
		if err == nil {
			err = p.receive(next)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "hearth: the channel to the platform broke:", err)
			os.Exit(1)
		}
	}
}

func (p *program) receive(next frame) error {
	switch next.kind {
	case typeInvoke:
		made := &invocation{half: newSendHalf(p.writer, next.stream)}
		if err := json.Unmarshal(next.payload, &made.message); err != nil {
			return err
		}
		p.mutex.Lock()
		p.open[next.stream] = made
		p.mutex.Unlock()
	case typeData, typeEnd:
		if found := p.find(next.stream); found != nil && !found.isWhole {
			if next.kind == typeEnd {
				next.payload = nil
			}
			found.receive(next.payload, next.kind == typeEnd || next.flags&flagFin != 0)
			if found.isWhole {
				p.waiting <- found
			}
		}
	case typeCredit:
		if found := p.find(next.stream); found != nil {
			found.half.grant(binary.BigEndian.Uint32(next.payload))
		}
	case typeCancel:
		if found := p.find(next.stream); found != nil {
			found.stop()
		}
	case typePing:
		if next.flags == 0 {
			return p.writer.send(typePing, flagPong, 0, next.payload)
		}
	case typePrepareSnapshot:
		for _, hook := range beforeSnapshot {
			hook()
		}
		debug.FreeOSMemory()
	case typeResume:
		return p.resume(next.payload)
	case typeBind:
		return p.bindAgain(next.payload)
	case typeShutdown:
		return p.shutDown(next.payload)
	}
	return nil
}

func (p *program) find(stream uint32) *invocation {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.open[stream]
}

// resume begins anew with another host: streams count from 1 again.
func (p *program) resume(payload []byte) error {
	var message struct {
		Epoch       string `json:"epoch"`
		IsTakenOver bool   `json:"isTakenOver"`
	}
	if err := json.Unmarshal(payload, &message); err != nil {
		return err
	}
	p.mutex.Lock()
	p.open = map[uint32]*invocation{}
	p.mutex.Unlock()
	p.sendJSON(typeResumed, map[string]interface{}{"epoch": message.Epoch})
	p.sendJSON(typeHello, map[string]interface{}{
		"protocol": 1, "role": "runtime", "epoch": message.Epoch, "runtime": "bridge", "version": "1", "pid": os.Getpid(),
		"isBusy": atomic.LoadInt32(&p.running) == 1,
	})
	if !message.IsTakenOver {
		for _, hook := range afterRestore {
			hook()
		}
	}
	return nil
}

// bindAgain sets only what a host may set anew: the code is loaded.
func (p *program) bindAgain(payload []byte) error {
	startedAt := time.Now()
	var message rebind
	if err := json.Unmarshal(payload, &message); err != nil {
		return err
	}
	if message.Function != p.facts.Function || message.Version != p.facts.Version {
		return fmt.Errorf("this program is %s:%s, not %s:%s", p.facts.Function, p.facts.Version, message.Function, message.Version)
	}
	kept := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "TZ", "LANG", "LD_LIBRARY_PATH", "LAMBDA_RUNTIME_DIR", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_ENDPOINT_URL_LAMBDA"} {
		if value, isSet := os.LookupEnv(name); isSet {
			kept[name] = value
		}
	}
	os.Clearenv()
	for _, set := range []map[string]string{kept, message.environment(), message.Env} {
		for name, value := range set {
			if err := os.Setenv(name, value); err != nil {
				return err
			}
		}
	}
	p.mutex.Lock()
	p.facts = message.bindFacts
	p.mutex.Unlock()
	p.ready(startedAt)
	return nil
}

func (m rebind) environment() map[string]string {
	return map[string]string{
		"LAMBDA_TASK_ROOT":                m.TaskRoot,
		"AWS_LAMBDA_FUNCTION_NAME":        m.Function,
		"AWS_LAMBDA_FUNCTION_VERSION":     m.Version,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": fmt.Sprint(m.MemoryMib),
		"AWS_LAMBDA_LOG_GROUP_NAME":       m.LogGroup,
		"AWS_LAMBDA_LOG_STREAM_NAME":      m.LogStream,
		"AWS_REGION":                      m.Region,
		"AWS_DEFAULT_REGION":              m.Region,
		"HEARTH_API_URL":                  m.APIURL,
		"HEARTH_PROJECT":                  m.Project,
		"_HANDLER":                        m.Handler,
	}
}

// shutDown gives the program's own handlers of SIGTERM the time that the host gives; without one it ends at once.
func (p *program) shutDown(payload []byte) error {
	var message struct {
		GraceMs int64 `json:"graceMs"`
	}
	if err := json.Unmarshal(payload, &message); err != nil {
		return err
	}
	if signal.Ignored(syscall.SIGTERM) {
		os.Exit(0)
	}
	time.AfterFunc(time.Duration(message.GraceMs)*time.Millisecond, func() { os.Exit(0) })
	// Ends the program unless it listens for it.
	return syscall.Kill(os.Getpid(), syscall.SIGTERM)
}

func (p *program) sendJSON(kind byte, message map[string]interface{}) {
	text, err := json.Marshal(message)
	if err == nil {
		err = p.writer.send(kind, 0, 0, text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hearth: the channel to the platform broke:", err)
		os.Exit(1)
	}
}

// fdChannel reads and writes a descriptor that blocks, past the runtime's poller: an os.File would ask the kernel twice for each frame.
type fdChannel int

func (c fdChannel) Read(target []byte) (int, error) {
	for {
		count, err := syscall.Read(int(c), target)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if count == 0 {
			return 0, io.EOF
		}
		return count, nil
	}
}

func (c fdChannel) Write(data []byte) (int, error) {
	written := 0
	for written < len(data) {
		count, err := syscall.Write(int(c), data[written:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return written, err
		}
		written += count
	}
	return written, nil
}
