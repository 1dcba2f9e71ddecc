package main

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// texts is how many different texts are kept.
const texts = 5

// names are those of the status codes, by their numbers.
var names = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

// tally counts what became of calls.
type tally struct {
	mutex   sync.Mutex
	began   time.Time
	codes   map[string]int
	by      map[string]int
	slowest time.Duration
	details []string
	headers []string
}

func newTally() *tally {
	counts := &tally{}
	counts.reset()
	return counts
}

func (t *tally) reset() {
	t.began, t.slowest = time.Now(), 0
	t.codes, t.by = map[string]int{}, map[string]int{}
	t.details, t.headers = []string{}, []string{}
}

// add counts a call.
func (t *tally) add(err error, by string, took time.Duration, headers []string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.codes[names[status.Code(err)]]++
	t.slowest = max(t.slowest, took)
	if err == nil {
		t.by[by]++
	} else {
		t.details = different(t.details, status.Convert(err).Message())
	}
	for _, value := range headers {
		t.headers = different(t.headers, value)
	}
}

// take returns what was counted and begins anew.
func (t *tally) take() map[string]any {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	defer t.reset()
	return map[string]any{
		"codes": t.codes, "by": t.by, "details": t.details, "headers": t.headers,
		"slowest_ms": ms(t.slowest), "took_ms": ms(time.Since(t.began)),
	}
}

func ms(took time.Duration) float64 { return float64(took.Microseconds()) / 1000 }

func different(values []string, value string) []string {
	if len(values) < texts && !slices.Contains(values, value) {
		return append(values, value)
	}
	return values
}
