package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"time"
)

// message builds one PackStream message.
type message []byte

func (m message) text(s string) message {
	switch n := len(s); {
	case n < 16:
		m = append(m, 0x80|byte(n))
	case n < 256:
		m = append(m, 0xD0, byte(n))
	default:
		m = binary.BigEndian.AppendUint16(append(m, 0xD1), uint16(n))
	}
	return append(m, s...)
}

func (m message) integer(v int64) message {
	switch {
	case v >= -16 && v <= 127:
		return append(m, byte(v))
	case v >= -1<<15 && v < 1<<15:
		return binary.BigEndian.AppendUint16(append(m, 0xC9), uint16(v))
	case v >= -1<<31 && v < 1<<31:
		return binary.BigEndian.AppendUint32(append(m, 0xCA), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(m, 0xCB), uint64(v))
}

func (m message) mapOf(entries int) message { return append(m, 0xA0|byte(entries)) }

func structure(tag byte, fields int) message { return message{0xB0 | byte(fields), tag} }

const (
	tagHello, tagLogon, tagReset, tagRun, tagPull = 0x01, 0x6A, 0x0F, 0x10, 0x3F
	tagSuccess, tagRecord, tagFailure             = 0x70, 0x71, 0x7F
)

// rawConnection speaks just enough Bolt 5.4: requests are written in one piece, answers are counted by their tag and
// their values are not looked at.
type rawConnection struct {
	socket net.Conn
	reader *bufio.Reader
	out    []byte
	answer []byte // The message read last.
	record []byte // The record read last.
	rows   int64
}

func dialRaw() (*rawConnection, error) {
	where, err := url.Parse(options.uri)
	if err != nil {
		return nil, err
	}
	socket, err := net.Dial("tcp", where.Host)
	if err != nil {
		return nil, err
	}
	c := &rawConnection{socket: socket, reader: bufio.NewReaderSize(socket, 1<<16)}
	proposal := [20]byte{0x60, 0x60, 0xB0, 0x17, 0, 0, 4, 5}
	if _, err = socket.Write(proposal[:]); err != nil {
		return nil, err
	}
	var version [4]byte
	if _, err = io.ReadFull(c.reader, version[:]); err != nil {
		return nil, err
	}
	if version != [4]byte{0, 0, 4, 5} {
		return nil, fmt.Errorf("the server answered the handshake for Bolt 5.4 with % x", version)
	}
	hello := structure(tagHello, 1).mapOf(2).text("user_agent").text("bench/1").text("bolt_agent").mapOf(1).text("product").text("bench/1")
	logon := structure(tagLogon, 1).mapOf(1).text("scheme").text("none")
	if options.user != "" {
		logon = structure(tagLogon, 1).mapOf(3).text("scheme").text("basic").text("principal").text(options.user).
			text("credentials").text(options.password)
	}
	return c, c.exchange(hello, logon)
}

// exchange writes the requests in one piece and reads until each has its closing answer.
func (c *rawConnection) exchange(requests ...message) error {
	c.out = c.out[:0]
	for _, request := range requests {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(len(request))) // All of ours fit one chunk.
		c.out = append(append(c.out, request...), 0, 0)
	}
	if _, err := c.socket.Write(c.out); err != nil {
		return err
	}
	var failure error
	for closed := 0; closed < len(requests); {
		if err := c.read(); err != nil {
			return err
		}
		switch c.answer[1] {
		case tagRecord:
			c.rows++
			c.record = append(c.record[:0], c.answer...)
			continue
		case tagSuccess:
		case tagFailure:
			failure = fmt.Errorf("%q", c.answer)
		default:
			if failure == nil {
				failure = errors.New("ignored")
			}
		}
		closed++
	}
	return failure
}

func (c *rawConnection) read() error {
	c.answer = c.answer[:0]
	for {
		head, err := c.reader.Peek(2)
		if err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint16(head))
		_, _ = c.reader.Discard(2)
		if size == 0 {
			if len(c.answer) >= 2 {
				return nil
			}
			continue // An empty chunk between messages keeps the connection alive.
		}
		start := len(c.answer)
		if cap(c.answer) < start+size {
			c.answer = append(make([]byte, 0, 2*(start+size)), c.answer...)
		}
		c.answer = c.answer[:start+size]
		if _, err := io.ReadFull(c.reader, c.answer[start:]); err != nil {
			return err
		}
	}
}

var pullAll = structure(tagPull, 1).mapOf(1).text("n").integer(-1)

// rawQuery is one autocommit statement on a connection of its own.
type rawQuery struct {
	connection *rawConnection
	next       func(g *generator) message
	rows       int64
}

func (q *rawQuery) do(g *generator) (bool, error) {
	q.connection.rows = 0
	err := q.connection.exchange(q.next(g), pullAll)
	if err != nil {
		if again := q.connection.exchange(structure(tagReset, 0)); again != nil {
			return false, again
		}
	}
	return q.connection.rows == q.rows, err
}

func (q *rawQuery) close() { _ = q.connection.socket.Close() }

func timedRaw(w workload, repetition int, rows int64, next func(g *generator) message) error {
	return timed(w, repetition, func() (client, error) {
		connection, err := dialRaw()
		return &rawQuery{connection, next, rows}, err
	}, nil)
}

func pointRaw(_ *bench, w workload, repetition int) error {
	return timedRaw(w, repetition, 1, func(g *generator) message {
		return structure(tagRun, 3).text(pointQuery).mapOf(1).text("id").integer(int64(g.below(pNodes))).mapOf(0)
	})
}

// causalRaw is pointRaw in access mode READ, which any member answers from what it has.
func causalRaw(_ *bench, w workload, repetition int) error {
	return timedRaw(w, repetition, 1, func(g *generator) message {
		return structure(tagRun, 3).text(pointQuery).mapOf(1).text("id").integer(int64(g.below(pNodes))).mapOf(1).text("mode").text("r")
	})
}

func writeRaw(b *bench, w workload, repetition int) error {
	return timedRaw(w, repetition, 0, func(*generator) message {
		return structure(tagRun, 3).text(createQuery).mapOf(2).text("id").integer(atomic.AddInt64(&b.nextID, 1)).
			text("v").text(createValue).mapOf(0)
	})
}

func streamRaw(_ *bench, w workload, repetition int) error {
	c, err := dialRaw()
	if err != nil {
		return err
	}
	defer c.socket.Close()
	run := structure(tagRun, 3).text(fmt.Sprintf("UNWIND range(1,%d) AS i RETURN i", streamLen)).mapOf(0).mapOf(0)
	before, start := readServerUse(), time.Now()
	if err := c.exchange(run, pullAll); err != nil {
		return err
	}
	took := time.Since(start)
	t := tally{units: c.rows, latencies: []time.Duration{took}}
	if want := (message{0xB1, tagRecord, 0x91}).integer(streamLen); string(c.record) != string(want) || c.rows != streamLen {
		t.wrong++
	}
	report(w, repetition, t, took, before, readServerUse())
	return nil
}
