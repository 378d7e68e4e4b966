package hearth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"strings"
	"time"
)

// answerPlatform serves what the platform itself asks, not a caller.
func (i *invocation) answerPlatform() {
	if i.message.Kind != "identity" {
		i.fail(failure{ErrorType: "Runtime.Unsupported", ErrorMessage: "A Go program is compiled before it is deployed.", StackTrace: []string{}})
		return
	}
	text, err := json.Marshal(identity())
	if err != nil {
		i.fail(describe(err))
		return
	}
	_ = i.half.end(text)
}

// identity is what must differ between two clones of a snapshot, or must be as the host set it.
func identity() map[string]interface{} {
	random := make([]byte, 32)
	// Never fails on Linux.
	_, _ = rand.Read(random)
	id := append([]byte(nil), random[16:]...)
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	digits := hex.EncodeToString(id)
	hostname, _ := os.Hostname()
	addresses := []string{}
	found, _ := net.InterfaceAddrs()
	for _, address := range found {
		addresses = append(addresses, address.String())
	}
	env := map[string]string{}
	for _, pair := range os.Environ() {
		if at := strings.IndexByte(pair, '='); at > 0 {
			digest := sha256.Sum256([]byte(pair[at+1:]))
			env[pair[:at]] = hex.EncodeToString(digest[:])
		}
	}
	return map[string]interface{}{
		"randomBytes": hex.EncodeToString(random[:16]),
		"uuid":        digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:],
		"nowMs":       time.Now().UnixNano() / int64(time.Millisecond),
		"hostname":    hostname,
		"addresses":   addresses,
		"env":         env,
	}
}
