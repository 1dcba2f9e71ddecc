package mesh;

import com.google.gson.Gson;
import com.google.gson.JsonSyntaxException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** The Java client of the matrix: see PROTOCOL.md. */
public final class Client {
  private static final Gson GSON = new Gson();

  private final Map<String, Channel> channels = new HashMap<>();

  private Client() {}

  /** Carries out the lines of stdin, until its end. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    Client client = new Client();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(GSON.toJson(client.answer(line)));
    }
    System.exit(0);
  }

  private Object answer(String line) throws InterruptedException {
    try {
      return carryOut(GSON.fromJson(line, Command.class));
    } catch (IllegalStateException | IllegalArgumentException | JsonSyntaxException error) {
      return Map.of("error", String.valueOf(error.getMessage()));
    }
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
