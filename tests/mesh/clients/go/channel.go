package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// callOptions are those of each call.
type callOptions struct {
	Method   string
	Metadata map[string]string
	Timeout  float64
	Wait     bool
	Header   string
}

// channel is a channel and the load on it, if there is one.
type channel struct {
	conn *grpc.ClientConn
	load *load
}

// load is a steady load that goes on in the background.
type load struct {
	tally *tally
	stop  chan struct{}
	ended chan struct{}
}

// raw passes bytes through.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (raw) Name() string { return "raw" }

// one makes a call and counts it.
func (on *channel) one(options callOptions, into *tally) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(options.Timeout*float64(time.Second)))
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(options.Metadata))
	var request, answer []byte
	var header metadata.MD
	began := time.Now()
	err := on.conn.Invoke(ctx, options.Method, &request, &answer, grpc.Header(&header), grpc.WaitForReady(options.Wait))
	into.add(err, string(answer), time.Since(began), header.Get(options.Header))
}

// calls makes n calls, so many at a time.
func (on *channel) calls(n, concurrency int, options callOptions) map[string]any {
	into := newTally()
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	close(left)
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			for range left {
				on.one(options, into)
			}
		})
	}
	workers.Wait()
	return into.take()
}

// startLoad begins a steady load: each call at its time, whatever became of the ones before.
func (on *channel) startLoad(rps float64, options callOptions) error {
	if on.load != nil {
		return errors.New("there is a load already")
	}
	begun := &load{newTally(), make(chan struct{}), make(chan struct{})}
	on.load = begun
	go func() {
		defer close(begun.ended)
		var calls sync.WaitGroup
		defer calls.Wait()
		ticks := time.NewTicker(time.Duration(float64(time.Second) / rps))
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				calls.Go(func() { on.one(options, begun.tally) })
			case <-begun.stop:
				return
			}
		}
	}()
	return nil
}

// loaded tells what became of the load since it was last asked.
func (on *channel) loaded() (map[string]any, error) {
	if on.load == nil {
		return nil, errors.New("there is no load")
	}
	return on.load.tally.take(), nil
}

// stopLoad ends the load and waits for what is under way.
func (on *channel) stopLoad() (map[string]any, error) {
	ending := on.load
	if ending == nil {
		return nil, errors.New("there is no load")
	}
	on.load = nil
	close(ending.stop)
	<-ending.ended
	return ending.tally.take(), nil
}
