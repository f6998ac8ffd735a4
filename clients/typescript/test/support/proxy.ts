// Proxy: TCP that can be cut: each connection after as many bytes as a test says, or all of them at once.

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** Forwards to `port`, which may change. `budget` says after how many bytes of answer a new connection is cut. */
export class CuttingProxy {
  cuts = 0;
  connections = 0;
  private readonly open = new Set<Socket>();

  private constructor(
    public port: number,
    private readonly budget: () => number,
    private readonly server: Server,
  ) {}

  static async start(port: number, budget: () => number): Promise<CuttingProxy> {
    const server = createServer();
    const proxy = new CuttingProxy(port, budget, server);
    server.on("connection", (client) => {
      proxy.forward(client);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  private forward(client: Socket): void {
    this.connections++;
    let left = this.budget();
    const server = connect(this.port, "127.0.0.1");
    const close = (): void => {
      client.destroy();
      server.destroy();
      this.open.delete(client);
    };
    this.open.add(client);
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on("error", close); // a cut is all that this proxy is for
      socket.on("close", close);
    }
    client.pipe(server);
    server.on("data", (bytes) => {
      const part = bytes.subarray(0, left);
      left -= part.length;
      if (left > 0) {
        client.write(part);
        return;
      }
      this.cuts++;
      server.destroy();
      client.end(part);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.open) socket.destroy();
    this.server.close();
    await once(this.server, "close");
  }
}
