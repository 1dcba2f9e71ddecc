// Command go_control_plane serves the endpoints of one service over ADS, with go-control-plane's snapshot cache.
//
// It prints its address and takes commands on stdin, each answered with a line: `load NAME COUNT` sets a service of so
// many endpoints, `push` changes the weight of one of them. It ends with SIGTERM.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Every stream has the same node, as in the other servers.
type oneNode struct{}

func (oneNode) ID(*core.Node) string { return "bench" }

func assignment(name string, count int, weight uint32) *endpoint.ClusterLoadAssignment {
	var endpoints []*endpoint.LbEndpoint
	for i := 0; i < count; i++ {
		w := uint32(100)
		if i == 0 {
			w = weight
		}
		socket := &core.SocketAddress{
			Address:       fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255),
			PortSpecifier: &core.SocketAddress_PortValue{PortValue: 8080},
		}
		endpoints = append(endpoints, &endpoint.LbEndpoint{
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
				Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: socket}},
			}},
			HealthStatus:        core.HealthStatus_HEALTHY,
			LoadBalancingWeight: wrapperspb.UInt32(w),
		})
	}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpoint.LocalityLbEndpoints{{
			Locality:            &core.Locality{Region: "eu-west"},
			LbEndpoints:         endpoints,
			LoadBalancingWeight: wrapperspb.UInt32(uint32(count) * 100),
		}},
	}
}

func main() {
	ctx := context.Background()
	snapshots := cache.NewSnapshotCache(false, oneNode{}, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	grpcServer := grpc.NewServer(grpc.MaxConcurrentStreams(1_000_000))
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(ctx, snapshots, nil))
	go func() { log.Fatal(grpcServer.Serve(listener)) }()
	fmt.Println(listener.Addr())

	var name, command string
	var count int
	weight := uint32(100)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &command); err != nil {
			log.Fatal(err)
		}
		if command == "load" {
			if _, err := fmt.Sscanf(lines.Text(), "load %s %d", &name, &count); err != nil {
				log.Fatal(err)
			}
		}
		weight++
		snapshot, err := cache.NewSnapshot(fmt.Sprint(weight), map[resource.Type][]types.Resource{
			resource.EndpointType: {assignment(name, count, weight)},
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := snapshots.SetSnapshot(ctx, "bench", snapshot); err != nil {
			log.Fatal(err)
		}
		fmt.Println("ok")
	}
}
