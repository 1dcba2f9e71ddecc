// Command client is the Go client of the matrix: see PROTOCOL.md.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	_ "google.golang.org/grpc/xds" // resolves xds:
)

// command is a line of stdin.
type command struct {
	callOptions
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
type client map[string]*channel

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	all := client{}
	for lines.Scan() {
		answer, err := all.carryOut(lines.Bytes())
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			return
		}
	}
}

// carryOut does what a line asks for and returns the answer.
func (all client) carryOut(line []byte) (any, error) {
	asked := command{N: 1, Concurrency: 1, RPS: 100, callOptions: callOptions{Method: "/mesh.Echo/Call", Timeout: 10}}
	if err := json.Unmarshal(line, &asked); err != nil {
		return nil, err
	}
	done := struct{}{}
	if asked.Op == "open" {
		opened, err := open(asked.Target, asked.Creds, asked.Authority)
		if err == nil {
			all[asked.Channel] = opened
		}
		return done, err
	}
	on, ok := all[asked.Channel]
	if !ok {
		return nil, fmt.Errorf("no channel %q", asked.Channel)
	}
	switch asked.Op {
	case "call":
		return on.calls(asked.N, asked.Concurrency, asked.callOptions), nil
	case "load":
		return done, on.startLoad(asked.RPS, asked.callOptions)
	case "loaded":
		return on.loaded()
	case "unload":
		return on.stopLoad()
	case "close":
		delete(all, asked.Channel)
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
