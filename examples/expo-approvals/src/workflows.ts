// Written by `stepflow generate typescript`: change the Python module office and run it again.
/* eslint-disable */

import type {} from "@stepflow/client";

export interface Decision {
  by: string;
  approved: boolean;
}

export interface Expense {
  id: string;
  employee: string;
  purpose: string;
  amount: number;
}

/** The workflows of the app, by id: what each takes, and what it returns. */
export interface AppWorkflows {
  /** Pay an employee back, once somebody has approved it. */
  reimburse: { input: Expense; output: string };
}

/** The events of the app, by id: the payload of each. */
export interface AppEvents {
  [id: `decision/${string}`]: Decision;
}

declare module "@stepflow/client" {
  interface Register {
    workflows: AppWorkflows;
    events: AppEvents;
  }
}
