// The tour as a worker on an edge: asked with the settings, it answers with the facts.

import { tour } from "./tour.mjs";

export default {
  async fetch(request) {
    return Response.json(await tour(await request.json()));
  },
};
