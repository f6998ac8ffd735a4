// Reading: what a stream's pieces mean to its reader, and from where it goes on once it was cut. Pure.

import { RemoteError } from "./errors.js";
import type { StreamEvent } from "./events.js";
import { isEnded } from "./records.js";
import { Parser, type Message } from "./sse.js";

const MOST_TOLD = 10_000;

/**
 * A reader's place in a stream of one run, or of several. `cursor`: the id of the last event that was taken, from which a new connection
 * goes on. `expired`: the credential was refused in the middle. `progress`: this connection has told something.
 */
export class Reading {
  retry = 1000;
  expired = false;
  progress = false;
  private parser = new Parser();
  private readonly ended = new Set<string>();
  private readonly told = new Set<string>();

  constructor(
    readonly runIds: Set<string>,
    public cursor: string | undefined,
  ) {}

  /** Every run has ended, and that was told. */
  get over(): boolean {
    return [...this.runIds].every((runId) => this.ended.has(runId));
  }

  /** A new answer begins: half an event that came of the former one is void. */
  connected(): void {
    this.expired = this.progress = false;
    this.parser = new Parser(this.cursor);
  }

  /** Go on without a run that is gone, if its end was told and others are left; false if its end was not: then that is news. */
  leaveOut(runId: string): boolean {
    return this.runIds.size > 1 && this.ended.has(runId) && this.runIds.delete(runId);
  }

  /** The events in this piece, each once; noted when it is taken, so that none is lost with a reader who leaves. */
  *take(piece: string): Generator<StreamEvent> {
    const messages = this.parser.feed(piece);
    this.retry = this.parser.retry ?? this.retry;
    for (const message of messages) {
      if (message.event === "token:expired") {
        this.expired = true;
        return;
      }
      this.cursor = message.id || this.cursor;
      const event = read(message);
      if (!this.isNews(event)) continue;
      this.progress = true;
      this.note(event);
      yield event;
      if (this.over) return;
    }
  }

  private note(event: StreamEvent): void {
    const isEnd = event.type.startsWith("execution:") || (event.type === "run" && isEnded(event.run));
    if (isEnd) this.ended.add(event.runId);
    else this.ended.delete(event.runId);
  }

  /**
   * What is not in the journal has no id, so a server tells it again after a cut: once is enough. It is forgotten when the
   * journal has passed it: from there on no server tells it any more.
   */
  private isNews(event: StreamEvent): boolean {
    if (event.type === "step:start" || event.type === "step:retry") {
      const fact = JSON.stringify([event.runId, event.key, event.attempt, event.type]);
      if (this.told.has(fact)) return false;
      if (this.told.size >= MOST_TOLD) this.told.clear();
      this.told.add(fact);
    } else if (event.type === "step:complete" || event.type === "step:failed") {
      this.forget(event.runId, event.key);
    } else if (event.type === "run" || event.type === "run:retrying" || event.type === "run:continued") {
      this.forget(event.runId);
    }
    return true;
  }

  private forget(...about: string[]): void {
    const beginning = `${JSON.stringify(about).slice(0, -1)},`;
    for (const fact of this.told) if (fact.startsWith(beginning)) this.told.delete(fact);
  }
}

function read(message: Message): StreamEvent {
  try {
    return JSON.parse(message.data) as StreamEvent;
  } catch (error) {
    throw new RemoteError(`an event ${message.event} can't be read`, {}, error);
  }
}
