// What became of calls.
'use strict';

const TEXTS = 5;

class Tally {
  constructor() {
    this.reset();
  }

  reset() {
    this.began = performance.now();
    this.slowest = 0;
    this.codes = {};
    this.by = {};
    this.details = new Set();
    this.headers = new Set();
  }

  // Counts a call.
  add(code, body, details, took, headers) {
    this.codes[code] = (this.codes[code] ?? 0) + 1;
    this.slowest = Math.max(this.slowest, took);
    if (code === 'OK') {
      const id = body.toString();
      this.by[id] = (this.by[id] ?? 0) + 1;
    } else if (this.details.size < TEXTS) {
      this.details.add(details);
    }
    headers.filter(() => this.headers.size < TEXTS).forEach((value) => this.headers.add(String(value)));
  }

  // Returns what was counted and begins anew.
  take() {
    const told = {
      codes: this.codes,
      by: this.by,
      details: [...this.details],
      headers: [...this.headers],
      slowest_ms: this.slowest,
      took_ms: performance.now() - this.began,
    };
    this.reset();
    return told;
  }
}

module.exports = { Tally };
