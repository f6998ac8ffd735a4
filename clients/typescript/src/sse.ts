// Server-sent events, as the WHATWG specifies them: an incremental parser, pure.
// https://html.spec.whatwg.org/multipage/server-sent-events.html

/** One event. `id` is the last one seen so far, which is where to go on from. */
export interface Message {
  event: string;
  data: string;
  id: string;
}

const LIMIT = 64 * 1024 * 1024;

/** Turns pieces of a stream, cut anywhere, into messages. An event that is not complete when the stream ends is dropped. */
export class Parser {
  /** Milliseconds that the server wants to pass before a reconnection, once it has said so. */
  retry: number | undefined;

  private rest = "";
  private begun = false;
  private afterReturn = false;
  private event = "";
  private data: string[] = [];
  private size = 0;

  constructor(private id = "") {}

  /** The messages that this piece completes. */
  feed(piece: string): Message[] {
    const found: Message[] = [];
    for (const line of this.lines(piece)) {
      if (line) this.take(line);
      else this.dispatch(found);
    }
    return found;
  }

  /** The lines that are complete now. A CR ends one at once: to wait for its LF could hold an event back for ever. */
  private lines(piece: string): string[] {
    if (!this.begun && piece) {
      this.begun = true;
      if (piece.startsWith("\uFEFF")) piece = piece.slice(1);
    }
    if (this.afterReturn && piece) {
      if (piece.startsWith("\n")) piece = piece.slice(1);
      this.afterReturn = false;
    }
    if (piece.endsWith("\r")) this.afterReturn = true;
    this.size += piece.length;
    if (this.size > LIMIT) throw new RangeError(`an event of the stream has more than ${LIMIT} characters`);
    const lines = piece.split(/\r\n|\r|\n/);
    lines[0] = this.rest + (lines[0] ?? "");
    this.rest = lines.pop() ?? "";
    return lines;
  }

  private take(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") this.data.push(value);
    else if (name === "event") this.event = value;
    else if (name === "id" && !value.includes("\0")) this.id = value;
    else if (name === "retry" && /^\d{1,9}$/.test(value)) this.retry = Number(value);
    // Anything else is a comment, or a field that we don't know
  }

  private dispatch(found: Message[]): void {
    const { event, data, id } = this;
    this.event = "";
    this.data = [];
    this.size = this.rest.length;
    if (data.length) found.push({ event: event || "message", data: data.join("\n"), id });
  }
}
