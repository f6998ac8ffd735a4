# workerd as Cloudflare's edge runs it: one worker, on a port that the command line gives, which may speak to loopback.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    ( name = "tour",
      worker = (
        modules = [ ( name = "worker", esModule = embed "worker.js" ) ],
        compatibilityDate = "2026-11-01",
      ),
    ),
    ( name = "internet", network = ( allow = [ "local" ] ) ),
  ],
  sockets = [ ( name = "http", http = (), service = "tour" ) ],
);
