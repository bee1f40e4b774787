package resume

// ring is a queue of bytes that grows up to what is put into it; its first byte has an offset.
type ring struct {
	buffer []byte
	start  int
	length int
	offset uint64 // of the first byte in the stream
}

func (r *ring) end() uint64 { return r.offset + uint64(r.length) }

// put appends bytes.
func (r *ring) put(data []byte) {
	if need := r.length + len(data); need > len(r.buffer) {
		grown := make([]byte, max(need, 2*len(r.buffer), 4096))
		r.copyAt(grown[:r.length], r.offset)
		r.buffer, r.start = grown, 0
	}
	at := (r.start + r.length) % len(r.buffer)
	copied := copy(r.buffer[at:], data)
	copy(r.buffer, data[copied:])
	r.length += len(data)
}

// copyAt copies from an offset that the ring has; it returns how many bytes there were.
func (r *ring) copyAt(out []byte, offset uint64) int {
	skip := int(offset - r.offset)
	count := min(len(out), r.length-skip)
	if count <= 0 {
		return 0
	}
	at := (r.start + skip) % len(r.buffer)
	copied := copy(out[:count], r.buffer[at:])
	copy(out[copied:count], r.buffer)
	return count
}

// discard forgets what is before an offset.
func (r *ring) discard(offset uint64) {
	count := int(offset - r.offset)
	r.length -= count
	r.offset = offset
	if r.length == 0 {
		r.start = 0
		return
	}
	r.start = (r.start + count) % len(r.buffer)
}
