// Transport: the one thing the client asks of its environment: to send a request and to read the answer as it comes.

/** One request. `stream` says that the answer is read while it comes. */
export interface TransportRequest {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string | undefined;
  signal: AbortSignal;
  stream: boolean;
}

/** An answer whose head is here. Its body is read once: by `text()`, or by `chunks()` as decoded pieces, cut anywhere. */
export interface TransportResponse {
  status: number;
  header(name: string): string | null;
  text(): Promise<string>;
  chunks(): AsyncIterable<string>;
}

/**
 * Sends a request. Rejects if there is no answer; when `signal` is aborted, it and whatever still reads the answer reject, and the
 * connection is given up. An iteration of `chunks()` that is left early gives it up, too.
 */
export type Transport = (request: TransportRequest) => Promise<TransportResponse>;

/** The transport of environments that have `fetch` and web streams: browsers, Node, Deno, Bun, edge functions. */
export function fetchTransport(fetch?: typeof globalThis.fetch): Transport {
  return async ({ method, url, headers, body = null, signal }) => {
    const init: RequestInit = { method, headers, body, signal, redirect: "manual" };
    const response = await (fetch ?? globalThis.fetch)(url, init);
    return {
      status: response.status,
      header: (name) => response.headers.get(name),
      text: () => response.text(),
      chunks: () => decoded(response),
    };
  };
}

async function* decoded({ body }: Response): AsyncGenerator<string> {
  if (!body) throw new TypeError("this fetch can't stream; give the client a transport that can");
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    // Whoever leaves early, or was cut off, has no use for the rest; a stream that broke refuses even that.
    await reader.cancel().catch(() => undefined);
  }
}
