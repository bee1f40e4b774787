// Package lines reads and writes the control of this program: one JSON object a line.
package lines

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// MaxBytes is the longest line.
const MaxBytes = 64 << 10

// ErrTooLong is the error for a longer one.
var ErrTooLong = errors.New("a line of control is longer than 65536 bytes")

// Reader reads lines.
type Reader struct{ scanner *bufio.Scanner }

// NewReader returns a reader of lines.
func NewReader(from io.Reader) *Reader {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(make([]byte, 0, MaxBytes), MaxBytes)
	return &Reader{scanner}
}

// Next returns the next line, io.EOF at the end.
func (r *Reader) Next() ([]byte, error) {
	if r.scanner.Scan() {
		return r.scanner.Bytes(), nil
	}
	if err := r.scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, ErrTooLong
	} else if err != nil {
		return nil, err
	}
	return nil, io.EOF
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
