"use strict";

// Browsers start no worker for a page that was opened from disk. The search then runs in a hidden frame, behind the interface of a worker.
window.IFrameWorker = class extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.append(this.frame);
    const scope = this.frame.contentWindow;
    scope.postMessage = (data) => this.deliver(data);
    const script = scope.document.createElement("script");
    script.src = url;
    this.loaded = new Promise((resolve) => script.addEventListener("load", resolve));
    scope.document.body.append(script);
  }

  deliver(data) {
    const event = new MessageEvent("message", { data: structuredClone(data) });
    this.dispatchEvent(event);
    if (this.onmessage) this.onmessage(event);
  }

  postMessage(data) {
    const scope = this.frame.contentWindow;
    this.loaded.then(() => scope.dispatchEvent(new scope.MessageEvent("message", { data })));
  }

  terminate() {
    this.frame.remove();
  }
};

if (location.protocol === "file:") window.Worker = window.IFrameWorker;
