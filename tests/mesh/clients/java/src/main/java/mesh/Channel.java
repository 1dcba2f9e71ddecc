package mesh;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.xds.XdsChannelCredentials;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.Phaser;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** A channel and the load on it, if there is one. */
final class Channel {
  private final ManagedChannel channel;
  private Load load;

  Channel(Command asked) {
    ChannelCredentials plain = InsecureChannelCredentials.create();
    ChannelCredentials creds = asked.creds.equals("xds") ? XdsChannelCredentials.create(plain) : plain;
    ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(asked.target, creds);
    channel = (asked.authority.isEmpty() ? builder : builder.overrideAuthority(asked.authority)).build();
  }

  /** A steady load that goes on in the background. */
  private record Load(Tally tally, ScheduledExecutorService timer, Phaser underWay) {}

  /** Makes a call and counts it; then has something run. */
  private void one(Command asked, Tally into, Runnable then) {
    long began = System.nanoTime();
    MethodDescriptor<byte[], byte[]> method =
        MethodDescriptor.newBuilder(Bytes.AS_IS, Bytes.AS_IS)
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(asked.method.substring(1))
            .build();
    CallOptions options =
        CallOptions.DEFAULT.withDeadlineAfter((long) (asked.timeout * 1e9), TimeUnit.NANOSECONDS);
    ClientCall<byte[], byte[]> call = channel.newCall(method, asked.wait ? options.withWaitForReady() : options);
    Metadata metadata = new Metadata();
    asked.metadata.forEach((key, value) -> metadata.put(key(key), value));
    call.start(new Listener(asked, into, began, then), metadata);
    call.sendMessage(new byte[0]);
    call.halfClose();
    call.request(2);
  }

  /** Makes n calls, so many at a time. */
  Tally.Told calls(Command asked) throws InterruptedException {
    Tally into = new Tally();
    Semaphore free = new Semaphore(asked.concurrency);
    for (int i = 0; i < asked.n; i++) {
      free.acquire();
      one(asked, into, free::release);
    }
    free.acquire(asked.concurrency);
    return into.take();
  }

  /** Begins a steady load: each call at its time, whatever became of the ones before. */
  void startLoad(Command asked) {
    if (load != null) {
      throw new IllegalStateException("there is a load already");
    }
    Load begun = new Load(new Tally(), Executors.newSingleThreadScheduledExecutor(), new Phaser(1));
    Runnable tick =
        () -> {
          begun.underWay.register();
          one(asked, begun.tally, begun.underWay::arriveAndDeregister);
        };
    begun.timer.scheduleAtFixedRate(tick, 0, (long) (1e9 / asked.rps), TimeUnit.NANOSECONDS);
    load = begun;
  }

  /** Tells what became of the load since it was last asked. */
  Tally.Told loaded() {
    if (load == null) {
      throw new IllegalStateException("there is no load");
    }
    return load.tally.take();
  }

  /** Ends the load and waits for what is under way. */
  Tally.Told stopLoad() throws InterruptedException {
    Load ending = load;
    if (ending == null) {
      throw new IllegalStateException("there is no load");
    }
    load = null;
    ending.timer.shutdown();
    ending.timer.awaitTermination(1, TimeUnit.MINUTES);
    ending.underWay.arriveAndAwaitAdvance();
    return ending.tally.take();
  }

  void close() {
    channel.shutdownNow();
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  /** Counts what becomes of a call. */
  private static final class Listener extends ClientCall.Listener<byte[]> {
    private final Command asked;
    private final Tally into;
    private final long began;
    private final Runnable then;
    private byte[] answer = new byte[0];
    private final List<String> headers = new ArrayList<>();

    Listener(Command asked, Tally into, long began, Runnable then) {
      this.asked = asked;
      this.into = into;
      this.began = began;
      this.then = then;
    }

    @Override
    public void onHeaders(Metadata received) {
      Iterable<String> values = asked.header.isEmpty() ? null : received.getAll(key(asked.header));
      if (values != null) {
        values.forEach(headers::add);
      }
    }

    @Override
    public void onMessage(byte[] message) {
      answer = message;
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      into.add(status, new String(answer, UTF_8), System.nanoTime() - began, headers);
      then.run();
    }
  }
}
