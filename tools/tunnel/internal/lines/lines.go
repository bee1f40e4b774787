// Package lines reads and writes the control of this program: one JSON object a line.
package lines

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// MaxBytes is the longest line.
const MaxBytes = 64 << 10

const maxText = 256

// ErrTooLong is the error for a longer one.
var ErrTooLong = errors.New("a line of control is longer than 65536 bytes")

// Each calls obey with each line until they end, or until it returns an error, which is returned.
func Each(from io.Reader, obey func(line []byte) error) error {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(make([]byte, 0, MaxBytes), MaxBytes)
	for scanner.Scan() {
		if err := obey(scanner.Bytes()); err != nil {
			return err
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return ErrTooLong
	}
	return scanner.Err()
}

// Shown returns an error as text that fits in a field of a line.
func Shown(err error) string {
	text := strings.ToValidUTF8(err.Error(), "?")
	return text[:min(len(text), maxText)]
}

// Decode reads a value whose keys must all be known.
func Decode(line []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("more than one object in a line")
	}
	return nil
}

// Writer writes lines, from several goroutines.
type Writer struct {
	mutex sync.Mutex
	to    io.Writer
}

// NewWriter returns a writer of lines.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write writes one line; an error means that nobody reads any more.
func (w *Writer) Write(value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("a line of control: %w", err)
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	_, err = w.to.Write(append(line, '\n'))
	return err
}
