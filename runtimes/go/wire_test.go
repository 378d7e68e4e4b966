package hearth

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"testing"
)

type vector struct {
	Name, Hex, Error string
	Frames           []struct {
		Type, Flags byte
		Stream      uint32
		PayloadHex  string
	}
}

func vectors(t *testing.T) (all struct{ Valid, Invalid []vector }) {
	text, err := os.ReadFile("../../test/wire/vectors.json")
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || len(all.Valid) == 0 || len(all.Invalid) == 0 {
		t.Fatal("no vectors", err)
	}
	return all
}

func TestFramesOfEveryValidVectorAreReadAndWritten(t *testing.T) {
	for _, each := range vectors(t).Valid {
		whole, _ := hex.DecodeString(each.Hex)
		source, written := bytes.NewReader(whole), &bytes.Buffer{}
		writer := &frameWriter{target: written}
		for _, expected := range each.Frames {
			read, err := readFrame(source)
			if err != nil || read.kind != expected.Type || read.flags != expected.Flags || read.stream != expected.Stream ||
				hex.EncodeToString(read.payload) != expected.PayloadHex {
				t.Fatal(each.Name, read.kind, err)
			}
			if err := writer.send(read.kind, read.flags, read.stream, read.payload); err != nil {
				t.Fatal(each.Name, err)
			}
		}
		if _, err := readFrame(source); err != io.EOF {
			t.Fatal(each.Name, err)
		}
		if !bytes.Equal(written.Bytes(), whole) {
			t.Fatal(each.Name)
		}
	}
}

func TestEveryInvalidVectorIsRefusedByItsRule(t *testing.T) {
	for _, each := range vectors(t).Invalid {
		whole, _ := hex.DecodeString(each.Hex)
		source := bytes.NewReader(whole)
		var err error
		for err == nil {
			_, err = readFrame(source)
		}
		if broken, ok := err.(*wireError); !ok || broken.rule != each.Error {
			t.Fatal(each.Name, err)
		}
	}
}
