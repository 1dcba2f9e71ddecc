package mesh;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** The Java client of the matrix: see PROTOCOL.md. */
public final class Client {
  private static final Gson GSON = new Gson();

  private final Map<String, Channel> channels = new ConcurrentHashMap<>();
  private final ExecutorService workers = Executors.newCachedThreadPool();

  private Client() {}

  /** Carries out the lines of stdin, until its end. */
  public static void main(String[] arguments) throws IOException {
    Client client = new Client();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      Command asked = GSON.fromJson(line, Command.class);
      client.workers.execute(() -> client.answer(asked));
    }
    System.exit(0);
  }

  /** Carries out a command, and prints the answer. */
  private void answer(Command asked) {
    JsonObject answer = new JsonObject();
    try {
      answer = GSON.toJsonTree(carryOut(asked)).getAsJsonObject();
    } catch (IllegalStateException | IllegalArgumentException error) {
      answer.addProperty("error", String.valueOf(error.getMessage()));
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      return;
    }
    answer.addProperty("id", asked.id);
    System.out.println(GSON.toJson(answer));
  }

  private Object carryOut(Command asked) throws InterruptedException {
    Map<String, Object> done = Map.of();
    if (asked.op.equals("open")) {
      channels.put(asked.channel, new Channel(asked));
      return done;
    }
    Channel on = channels.get(asked.channel);
    if (on == null) {
      throw new IllegalArgumentException("no channel " + asked.channel);
    }
    switch (asked.op) {
      case "call":
        return on.calls(asked);
      case "load":
        on.startLoad(asked);
        return done;
      case "loaded":
        return on.loaded();
      case "unload":
        return on.stopLoad();
      case "close":
        channels.remove(asked.channel).close();
        return done;
      default:
        throw new IllegalArgumentException("no op " + asked.op);
    }
  }
}
