package mesh;

import java.util.Map;

/** A line of stdin. */
final class Command {
  int id;
  String op = "";
  String channel = "";
  String target = "";
  String creds = "insecure";
  String authority = "";
  int n = 1;
  int concurrency = 1;
  double rps = 100;
  String method = "/mesh.Echo/Call";
  Map<String, String> metadata = Map.of();
  double timeout = 10;
  boolean wait;
  String header = "";
}
