// Command client is the Go client of the matrix: see PROTOCOL.md.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	_ "google.golang.org/grpc/xds" // resolves xds:
)

// command is a line of stdin.
type command struct {
	callOptions
	ID          int
	Op          string
	Channel     string
	Target      string
	Creds       string
	Authority   string
	N           int
	Concurrency int
	RPS         float64
}

// client has the channels by their names.
type client struct {
	mutex    sync.Mutex
	channels map[string]*channel
	answers  *json.Encoder
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	all := &client{channels: map[string]*channel{}, answers: json.NewEncoder(os.Stdout)}
	for lines.Scan() {
		asked := command{N: 1, Concurrency: 1, RPS: 100, callOptions: callOptions{Method: "/mesh.Echo/Call", Timeout: 10}}
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		go all.answer(asked)
	}
}

// answer carries out a command, and prints the answer.
func (all *client) answer(asked command) {
	answer, err := all.carryOut(asked)
	if err != nil {
		answer = map[string]any{"error": err.Error()}
	}
	answer["id"] = asked.ID
	all.mutex.Lock()
	defer all.mutex.Unlock()
	if err := all.answers.Encode(answer); err != nil {
		panic(err)
	}
}

// on returns a channel by its name, opened by the command if it is to be.
func (all *client) on(asked command) (*channel, error) {
	all.mutex.Lock()
	defer all.mutex.Unlock()
	if asked.Op == "open" {
		opened, err := open(asked.Target, asked.Creds, asked.Authority)
		if err == nil {
			all.channels[asked.Channel] = opened
		}
		return opened, err
	}
	on, ok := all.channels[asked.Channel]
	if !ok {
		return nil, fmt.Errorf("no channel %q", asked.Channel)
	}
	if asked.Op == "close" {
		delete(all.channels, asked.Channel)
	}
	return on, nil
}

// carryOut does what a command asks for and returns the answer.
func (all *client) carryOut(asked command) (map[string]any, error) {
	on, err := all.on(asked)
	if err != nil {
		return nil, err
	}
	done := map[string]any{}
	switch asked.Op {
	case "open":
		return done, nil
	case "call":
		return on.calls(asked.N, asked.Concurrency, asked.callOptions), nil
	case "load":
		return done, on.startLoad(asked.RPS, asked.callOptions)
	case "loaded":
		return on.loaded()
	case "unload":
		return on.stopLoad()
	case "close":
		return done, on.conn.Close()
	}
	return nil, fmt.Errorf("no op %q", asked.Op)
}

// open makes a channel, which connects at the first call.
func open(target, creds, authority string) (*channel, error) {
	transport := insecure.NewCredentials()
	if creds == "xds" {
		var err error
		options := xdscreds.ClientOptions{FallbackCreds: transport}
		if transport, err = xdscreds.NewClientCredentials(options); err != nil {
			return nil, err
		}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})),
	}
	if authority != "" {
		options = append(options, grpc.WithAuthority(authority))
	}
	conn, err := grpc.NewClient(target, options...)
	return &channel{conn: conn}, err
}
