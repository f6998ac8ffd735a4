// How the page is built, and served while it is written.
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // The same variable as the server's. It is public: whoever opens the page may read it.
  envPrefix: "STEPFLOW_PUBLIC_KEY",
  // Only because @stepflow/* are folders of this repository here, with a React of their own for their tests.
  resolve: { dedupe: ["react", "react-dom"] },
  server: {
    proxy: { "/stepflow": "http://127.0.0.1:8000", "/orders": "http://127.0.0.1:8000" },
  },
});
