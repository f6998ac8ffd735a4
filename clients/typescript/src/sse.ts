// Server-sent events, as the WHATWG specifies them: an incremental parser, pure.
// https://html.spec.whatwg.org/multipage/server-sent-events.html

/** One event. `id` is the last one seen so far, which is where to go on from. */
export interface Message {
  event: string;
  data: string;
  id: string;
}

/** Turns pieces of a stream, cut anywhere, into messages. An event that is not complete when the stream ends is dropped. */
export interface Parser {
  /** Milliseconds that the server wants to pass before a reconnection, once it has said so. */
  retry: number | undefined;
  /** The messages that this piece completes. */
  feed: (piece: string) => Message[];
}

const LIMIT = 64 * 1024 * 1024;

export function parserFrom(id = ""): Parser {
  let rest = "";
  let event = "";
  let data: string[] = [];
  let size = 0;
  // What is no part of a line if the next piece begins with it: a byte order mark, and then the LF of a CR that ended the last one.
  let skipped = "\uFEFF";

  /** The lines that are complete now. A CR ends one at once: to wait for its LF could hold an event back for ever. */
  const linesOf = (piece: string): string[] => {
    if (piece.startsWith(skipped)) piece = piece.slice(skipped.length);
    skipped = piece.endsWith("\r") ? "\n" : "";
    size += piece.length;
    if (size > LIMIT) throw new RangeError("an event of the stream is too long");
    const lines = piece.split(/\r\n|\r|\n/);
    lines[0] = rest + (lines[0] ?? "");
    rest = lines.pop() ?? "";
    return lines;
  };

  const take = (line: string): void => {
    const [, name, value = ""] = /^([^:]*):? ?(.*)/s.exec(line) ?? [];
    if (name === "data") data.push(value);
    if (name === "event") event = value;
    if (name === "id" && !value.includes("\0")) id = value;
    if (name === "retry" && /^\d{1,9}$/.test(value)) parser.retry = Number(value);
    // Anything else is a comment, or a field that we don't know
  };

  const parser: Parser = {
    retry: undefined,
    feed(piece) {
      const found: Message[] = [];
      for (const line of piece ? linesOf(piece) : []) {
        if (line) {
          take(line);
          continue;
        }
        if (data.length) found.push({ event: event || "message", data: data.join("\n"), id });
        event = "";
        data = [];
        size = rest.length;
      }
      return found;
    },
  };
  return parser;
}
