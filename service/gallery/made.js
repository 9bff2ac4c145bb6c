// A picture that was made because nothing fits: how far it is, what came of it, and whether to keep it.

import { generation, jobEvents, promote } from "/gallery/api.js";
import { button, element } from "/gallery/dom.js";

export class Making {
  // `kept()` is called when a made picture has become one of the collection.
  constructor(root, kept) {
    this.root = root;
    this.kept = kept;
    this.events = null;
  }

  show({ miss, job }) {
    this.events?.close();
    this.events = null;
    this.root.hidden = !miss;
    if (!miss) return;
    if (miss.generation) this.done(miss.generation);
    else if (job && miss.outcome !== "refused") this.wait(job.id);
    else this.say("Nothing fits, and no picture is made", miss.reason);
  }

  say(title, detail, ...more) {
    this.root.replaceChildren(element("div", {}, element("p", { textContent: title }), element("small", { textContent: detail }), ...more));
  }

  wait(id) {
    this.say("Nothing fits. A picture is being made…", "");
    this.events = jobEvents(id);
    const look = async ({ data }) => {
      const { state, progress, result, error } = JSON.parse(data);
      if (state === "succeeded") {
        this.events?.close();
        this.done(await generation(result.generations[0]));
      } else if (state === "failed" || state === "cancelled") {
        this.events?.close();
        this.say("Nothing fits, and no picture could be made", error ?? state);
      } else {
        this.say("Nothing fits. A picture is being made…", progress.steps ? `step ${progress.step} of ${progress.steps}` : state);
        if (progress.preview) this.root.prepend(element("img", { src: progress.preview, alt: "What it looks like so far" }));
      }
    };
    for (const state of ["queued", "running", "succeeded", "failed", "cancelled"]) this.events.addEventListener(state, look);
  }

  done(made) {
    const about = `${made.model}, seed ${made.seed}, drawn at ${made.native_width} × ${made.native_height}`;
    const keep = button("Keep it in the collection", {
      onclick: async () => {
        await promote(made.id);
        this.kept();
      },
    });
    this.say(`Nothing fits, so this was made: “${made.prompt}”`, about, element("p", {}, made.image_id ? "It is in the collection." : keep));
    this.root.prepend(element("img", { src: `${made.content}?width=320`, alt: `Generated: ${made.prompt}` }));
  }
}
