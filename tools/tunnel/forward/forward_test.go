package forward

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// noting notes how long the buffers are that it is given.
type noting struct {
	io.Reader
	asked []int
}

func (n *noting) Read(into []byte) (int, error) {
	n.asked = append(n.asked, len(into))
	return n.Reader.Read(into)
}

func TestABufferGrowsWhileItIsFullAndNothingIsLost(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	from, to := &noting{Reader: bytes.NewReader(sent)}, &bytes.Buffer{}
	if err := copyAll(to, from); err != nil || !bytes.Equal(to.Bytes(), sent) {
		t.Fatal(err, to.Len())
	}
	if from.asked[0] != firstBytes || from.asked[len(from.asked)-1] != bufferBytes {
		t.Error(from.asked)
	}
}

func TestSmallMessagesNeedASmallBuffer(t *testing.T) {
	reader, writer := io.Pipe()
	go func() {
		for range 1000 {
			_, _ = writer.Write(make([]byte, firstBytes-1))
		}
		_ = writer.Close()
	}()
	from := &noting{Reader: reader}
	if err := copyAll(io.Discard, from); err != nil || slices.Max(from.asked) != firstBytes {
		t.Error(err, slices.Max(from.asked))
	}
}
