package mesh;

import com.google.gson.annotations.SerializedName;
import io.grpc.Status;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** Counts what became of calls. */
final class Tally {
  private static final int TEXTS = 5;

  private Told told = new Told();
  private long began = System.nanoTime();

  /** What was counted. */
  static final class Told {
    final Map<String, Integer> codes = new TreeMap<>();
    final Map<String, Integer> by = new TreeMap<>();
    final Set<String> details = new LinkedHashSet<>();
    final Set<String> headers = new LinkedHashSet<>();

    @SerializedName("slowest_ms")
    double slowestMs;

    @SerializedName("took_ms")
    double tookMs;
  }

  /** Counts a call. */
  synchronized void add(Status status, String id, long nanos, List<String> headers) {
    told.codes.merge(status.getCode().name(), 1, Integer::sum);
    told.slowestMs = Math.max(told.slowestMs, nanos / 1e6);
    if (status.isOk()) {
      told.by.merge(id, 1, Integer::sum);
    } else if (told.details.size() < TEXTS) {
      told.details.add(String.valueOf(status.getDescription()));
    }
    headers.stream().filter(value -> told.headers.size() < TEXTS).forEach(told.headers::add);
  }

  /** Returns what was counted and begins anew. */
  synchronized Told take() {
    Told counted = told;
    counted.tookMs = (System.nanoTime() - began) / 1e6;
    told = new Told();
    began = System.nanoTime();
    return counted;
  }
}
