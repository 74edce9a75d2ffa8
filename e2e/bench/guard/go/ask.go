package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	longestWarmup = 15 * time.Second
	longestAnswer = 30 * time.Second
)

// plan says how users ask: in a closed loop each as soon as it has its answer, in an open loop
// (rate > 0) by a schedule that does not wait for answers.
type plan struct {
	address  string
	requests [][]byte
	streams  bool
	rate     float64
	began    time.Time
	most     int64 // with a number of requests there is no warm-up
	warm     sync.WaitGroup
	measured atomic.Pointer[span] // none before every connection had its first answer
	over     chan struct{}
	next     atomic.Int64
	done     atomic.Int64
}

// span is the time in which answers are measured.
type span struct{ begins, ends time.Time }

func (time *span) holds(moment time.Time) bool {
	return time != nil && !moment.Before(time.begins) && moment.Before(time.ends)
}

// found is what one connection saw; times are microseconds.
type found struct {
	Whole   []int64 `json:"whole_us"`
	First   []int64 `json:"first_us"`
	InTime  int     `json:"in_time"` // answers that were complete within the measured time
	Refused int     `json:"refused"` // answers that did not come from the model
	Errors  int     `json:"errors"`
	Done    int64   `json:"done"` // all that were asked, the warm-up too
	AnError string  `json:"an_error,omitempty"`
	Seconds float64 `json:"seconds"`
}

func ask(arguments []string) error {
	flags := flag.NewFlagSet("ask", flag.ExitOnError)
	target := flags.String("url", "", "whom to ask")
	bodies := flags.String("bodies", "", "file with a request's body in each line; all are asked in turn")
	connections := flags.Int("connections", 1, "how many ask at once")
	warmup := flags.Duration("warmup", 500*time.Millisecond, "how long to ask before measuring")
	length := flags.Duration("for", 2*time.Second, "how long to measure")
	asked := plan{over: make(chan struct{})}
	flags.Float64Var(&asked.rate, "rate", 0, "requests per second of an open loop")
	flags.Int64Var(&asked.most, "requests", 0, "end after so many requests, if the time is not over before")
	flags.BoolVar(&asked.streams, "stream", false, "answers come as server-sent events")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if err := asked.prepare(*target, *bodies); err != nil {
		return err
	}
	asked.began = time.Now()
	asked.warm.Add(*connections)
	if asked.most > 0 {
		asked.measured.Store(&span{asked.began, asked.began.Add(*length)})
	} else {
		go asked.measure(*warmup, *length)
	}
	all := make([]found, *connections)
	var users sync.WaitGroup
	for number := range all {
		users.Go(func() { asked.user(&all[number]) })
	}
	stop := make(chan struct{})
	if asked.most > 0 {
		go asked.tell(stop)
	}
	users.Wait()
	close(stop)
	sum := total(all)
	sum.Done = asked.done.Load()
	sum.Seconds = length.Seconds()
	if asked.most > 0 {
		sum.Seconds = time.Since(asked.began).Seconds()
	}
	return json.NewEncoder(os.Stdout).Encode(sum)
}

// prepare writes every request once, so that asking costs no more than sending bytes.
func (asked *plan) prepare(target, bodies string) error {
	place, err := url.Parse(target)
	if err != nil {
		return err
	}
	asked.address = place.Host
	text, err := os.ReadFile(bodies)
	if err != nil {
		return err
	}
	for line := range bytes.SplitSeq(bytes.TrimSpace(text), []byte("\n")) {
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\n\r\n", place.Path, place.Host, len(line))
		asked.requests = append(asked.requests, append([]byte(head), line...))
	}
	return nil
}

// measure begins once every connection had its first answer, or the target is hopelessly slow.
func (asked *plan) measure(warmup, length time.Duration) {
	isWarm := make(chan struct{})
	go func() {
		asked.warm.Wait()
		close(isWarm)
	}()
	select {
	case <-isWarm:
	case <-time.After(longestWarmup):
	}
	time.Sleep(time.Until(asked.began.Add(warmup)))
	now := time.Now()
	asked.measured.Store(&span{now, now.Add(length)})
	time.Sleep(length)
	close(asked.over)
}

// tell writes how many requests are done, once a second.
func (asked *plan) tell(stop <-chan struct{}) {
	for tick := time.Tick(time.Second); ; {
		select {
		case <-tick:
			fmt.Printf("{\"done\": %d}\n", asked.done.Load())
		case <-stop:
			return
		}
	}
}

// user asks over one connection until the end.
func (asked *plan) user(seen *found) {
	line := connection{plan: asked}
	defer line.close()
	isWarm := false
	for {
		number := asked.next.Add(1) - 1
		at := time.Now()
		if asked.rate > 0 {
			// The moment for which it was planned: waiting for a free connection is latency too.
			at = asked.began.Add(time.Duration(float64(number) / asked.rate * 1e9))
		}
		if measured := asked.measured.Load(); asked.most > 0 && number >= asked.most ||
			measured != nil && !at.Before(measured.ends) {
			return
		}
		if wait := time.Until(at); wait > 0 {
			select {
			case <-time.After(wait):
			case <-asked.over:
				return
			}
		}
		first, isModels, err := line.ask(asked.requests[number%int64(len(asked.requests))])
		ended := time.Now()
		asked.done.Add(1)
		if !isWarm {
			isWarm = true
			asked.warm.Done()
		}
		measured := asked.measured.Load()
		if err == nil && measured.holds(ended) {
			seen.InTime++
		}
		if err != nil {
			seen.Errors++
			seen.AnError = err.Error()
			line.close()
			time.Sleep(10 * time.Millisecond)
		} else if measured.holds(at) {
			seen.Whole = append(seen.Whole, ended.Sub(at).Microseconds())
			if asked.streams {
				seen.First = append(seen.First, first.Sub(at).Microseconds())
			}
			if !isModels {
				seen.Refused++
			}
		}
	}
}

// connection is one kept-alive connection; it opens itself when needed.
type connection struct {
	plan   *plan
	socket net.Conn
	reader *bufio.Reader
	body   bytes.Buffer
}

func (line *connection) close() {
	if line.socket != nil {
		line.socket.Close()
		line.socket = nil
	}
}

// ask returns when the first text came, and whether the whole came from the model.
func (line *connection) ask(request []byte) (first time.Time, isModels bool, err error) {
	if line.socket == nil {
		if line.socket, err = net.Dial("tcp", line.plan.address); err != nil {
			line.socket = nil
			return first, false, err
		}
		line.reader = bufio.NewReaderSize(line.socket, 32<<10)
	}
	line.socket.SetDeadline(time.Now().Add(longestAnswer))
	if _, err = line.socket.Write(request); err != nil {
		return first, false, err
	}
	reply, err := http.ReadResponse(line.reader, nil)
	if err != nil {
		return first, false, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(reply.Body)
		return first, false, fmt.Errorf("status %d: %.200s", reply.StatusCode, said)
	}
	if line.plan.streams {
		return line.readEvents(reply.Body)
	}
	line.body.Reset()
	if _, err = line.body.ReadFrom(reply.Body); err != nil {
		return first, false, err
	}
	if reply.Close {
		line.close()
	}
	return first, bytes.Contains(line.body.Bytes(), whole), nil
}

var (
	content = []byte(`"content":`)
	done    = []byte("data: [DONE]")
	whole   = []byte(answer)
)

func (line *connection) readEvents(body io.Reader) (first time.Time, isModels bool, err error) {
	lines := bufio.NewScanner(body)
	line.body.Reset()
	isWhole := false
	for lines.Scan() {
		line.body.Write(saidBy(lines.Bytes()))
		if first.IsZero() && line.body.Len() > 0 {
			first = time.Now()
		}
		isWhole = isWhole || bytes.HasPrefix(lines.Bytes(), done)
	}
	if err = lines.Err(); err == nil && (!isWhole || first.IsZero()) {
		err = fmt.Errorf("the stream ended early")
	}
	return first, bytes.Equal(line.body.Bytes(), whole), err
}

// saidBy returns the text in an event; the model's own holds nothing that JSON would escape.
func saidBy(event []byte) []byte {
	_, rest, _ := bytes.Cut(event, content)
	rest, isText := bytes.CutPrefix(bytes.TrimLeft(rest, " "), []byte(`"`))
	text, _, isWhole := bytes.Cut(rest, []byte(`"`))
	if !isText || !isWhole {
		return nil
	}
	return text
}

func total(all []found) found {
	sum := found{Whole: []int64{}, First: []int64{}}
	for _, each := range all {
		sum.Whole = append(sum.Whole, each.Whole...)
		sum.First = append(sum.First, each.First...)
		sum.InTime += each.InTime
		sum.Refused += each.Refused
		sum.Errors += each.Errors
		if each.AnError != "" {
			sum.AnError = each.AnError
		}
	}
	return sum
}
