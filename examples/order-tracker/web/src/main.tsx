// The page's beginning: one client for all components, and where it reaches the API.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { StepflowClient } from "@stepflow/client";
import { StepflowProvider } from "@stepflow/react";
import { Shop } from "./shop";
import "./page.css";

const client = new StepflowClient({
  baseUrl: "/stepflow",
  publicApiKey: import.meta.env.STEPFLOW_PUBLIC_KEY, // may start a checkout, and nothing else
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no element with the id root");
createRoot(root).render(
  <StrictMode>
    <StepflowProvider client={client}>
      <Shop />
    </StepflowProvider>
  </StrictMode>,
);
