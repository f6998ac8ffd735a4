// XhrTransport: requests by XMLHttpRequest, whose answers can be read while they come. React Native's fetch can't do that.

import type { Transport, TransportRequest, TransportResponse } from "@stepflow/client";
import { aborted } from "./reachability.js";

export interface XhrTransportOptions {
  /** Milliseconds in which an answer has to be there, of a stream only its head: 30 s. */
  timeout?: number | undefined;
}

/**
 * Characters after which a stream is ended between two events, to be opened anew behind the last one: an XMLHttpRequest keeps all that it
 * ever received.
 */
const MOST_KEPT = 1_000_000;

/** A transport for `StepflowClient` that needs neither `fetch` nor web streams. */
export function xhrTransport({ timeout = 30_000 }: XhrTransportOptions = {}): Transport {
  return (request) =>
    new Promise((resolve, reject) => {
      new Request(request, timeout, resolve, reject).send();
    });
}

/** One request and its answer. */
class Request {
  private readonly xhr = new XMLHttpRequest();
  private taken = 0;
  private arrived = "";
  private ended: { error: Error | undefined } | undefined;
  private wake: (() => void) | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly request: TransportRequest,
    private readonly timeout: number,
    private readonly resolve: (response: TransportResponse) => void,
    private readonly reject: (error: Error) => void,
  ) {}

  send(): void {
    const { xhr, request } = this;
    if (request.signal.aborted) {
      this.reject(aborted());
      return;
    }
    xhr.open(request.method, request.url);
    for (const [name, value] of Object.entries(request.headers)) xhr.setRequestHeader(name, value);
    this.listen();
    request.signal.addEventListener("abort", this.abort);
    const longest = this.timeout + heldFor(request.url);
    this.timer = setTimeout(() => {
      this.end(new Error(`no answer within ${longest} ms`));
    }, longest);
    xhr.send(request.body ?? null);
  }

  private listen(): void {
    const { xhr } = this;
    if (this.request.stream) {
      // Only who listens to these is told of an answer before it is complete.
      xhr.onreadystatechange = () => {
        if (xhr.readyState === 2) this.answer();
      };
      xhr.onprogress = () => {
        this.take();
      };
    }
    xhr.onload = () => {
      this.take();
      this.answer();
      this.end(undefined);
    };
    // React Native puts the reason where the answer's text would be: that must not be taken for it.
    xhr.onerror = () => {
      this.end(new Error("the connection failed"));
    };
    xhr.ontimeout = xhr.onerror;
    xhr.onabort = xhr.onerror;
  }

  /** The head of the answer is here. */
  private answer(): void {
    if (this.request.stream) clearTimeout(this.timer);
    this.resolve({
      status: this.xhr.status,
      header: (name) => this.xhr.getResponseHeader(name),
      text: () => this.text(),
      chunks: () => this.chunks(),
    });
  }

  private take(): void {
    if (this.ended) return;
    const text = this.xhr.responseText;
    this.arrived += text.slice(this.taken);
    this.taken = text.length;
    this.wake?.();
  }

  private readonly abort = (): void => {
    this.end(aborted());
  };

  /** Nothing comes any more, for the reason that is given first. */
  private end(error: Error | undefined): void {
    if (this.ended) return;
    this.ended = { error };
    clearTimeout(this.timer);
    this.request.signal.removeEventListener("abort", this.abort);
    if (this.xhr.readyState !== 4) this.xhr.abort();
    if (error) this.reject(error); // to no effect if the head has been delivered
    this.wake?.();
  }

  private async text(): Promise<string> {
    while (!this.ended) await this.news();
    if (this.ended.error) throw this.ended.error;
    return this.arrived;
  }

  private async *chunks(): AsyncGenerator<string, void, undefined> {
    let last = "";
    try {
      for (;;) {
        const piece = this.arrived;
        this.arrived = "";
        if (piece) {
          yield piece;
          last = (last + piece).slice(-2);
        } else if (this.ended?.error) throw this.ended.error;
        else if (this.ended || (this.taken > MOST_KEPT && last === "\n\n")) return;
        else await this.news();
      }
    } finally {
      this.end(aborted());
    }
  }

  private news(): Promise<void> {
    return new Promise((resolve) => (this.wake = resolve));
  }
}

/** Milliseconds for which the server was asked to hold its answer back. */
function heldFor(url: string): number {
  const [, length = 0, unit] = /[?&]wait=(\d+)(ms|s)/.exec(url) ?? [];
  return Number(length) * (unit === "s" ? 1000 : 1);
}
