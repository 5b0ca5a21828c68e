"use strict";
(() => {
  const page = JSON.parse(document.getElementById("pictures").textContent);
  const text = page.text;
  const at = (id) => document.getElementById(id);
  const fill = (pattern, values) => pattern.replace(/\{(\w+)\}/g, (_, key) => values[key]);

  // ---- numbers and dates as the reader writes them
  const format = (options) => {
    if (page.currency) {
      try {
        return new Intl.NumberFormat(page.locale, { style: "currency", currency: page.currency, ...options });
      } catch { /* a code that the browser does not know: without it */ }
    }
    return new Intl.NumberFormat(page.locale, options);
  };
  const whole = format({ maximumFractionDigits: 0 });
  const cents = format({ minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const short = format({ notation: "compact", maximumFractionDigits: 1, minimumFractionDigits: 0 });
  const plainShort = new Intl.NumberFormat(page.locale, { notation: "compact", maximumFractionDigits: 1 });
  const share = new Intl.NumberFormat(page.locale, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const count = new Intl.NumberFormat(page.locale);
  const amount = (value) => (value == null ? "–" : (Math.abs(value) < 1000 ? cents : whole).format(value));
  const dating = (options) => {
    const formatter = new Intl.DateTimeFormat(page.locale, { timeZone: "UTC", ...options });
    return (seconds) => formatter.format(new Date(seconds * 1000));
  };
  const monthly = page.frequency === "M";
  const day = dating(monthly ? { month: "long", year: "numeric" } : { day: "numeric", month: "short", year: "numeric" });
  const dayShort = dating({ day: "numeric", month: "short" });
  const month = dating({ month: "short" });
  const monthYear = (s) => `${month(s)} ${String(new Date(s * 1000).getUTCFullYear()).slice(2)}`;
  const year = dating({ year: "numeric" });
  const DAY = 86400;
  const seconds = (index) => page.days[index] * DAY;

  // ---- one chart: lines over the same periods, a band, a mark where the forecast begins
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axisDates = (u, splits, axis, space, step) =>
    splits.map((s) => {
      if (step >= 360 * DAY) return year(s);
      const date = new Date(s * 1000);
      if (step >= 27 * DAY) return date.getUTCMonth() === 0 || s === splits[0] ? monthYear(s) : month(s);
      return s === splits[0] ? day(s) : dayShort(s);
    });

  // names of days take more room than those of months
  const spaced = (u, axis, low, high, width) => ((high - low) / DAY / width * 54 < 27 ? 110 : 54);

  class Chart {
    constructor(id, ranges) {
      this.box = at(id);
      this.wide = false;
      this.marks = [];
      this.fill = "--band";
      this.buttons = (ranges ? ["recent", "all"] : []).map((key) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = text[key];
        button.addEventListener("click", () => this.range(key === "all"));
        at(ranges).append(button);
        return button;
      });
      new ResizeObserver(() => {
        if (this.plot && this.plot.width !== this.width()) this.plot.setSize(this.size());
      }).observe(this.box);
    }
    width() { return Math.max(240, Math.floor(this.box.clientWidth)); }
    narrow() { return this.width() < 600; }
    size() { return { width: this.width(), height: this.narrow() ? 240 : 300 }; }

    // lines: [{line: [start, values], label, stroke, width, dash, hidden}], band: [high, low],
    // marks: periods after which a dotted line stands
    show(lines, label, band, marks) {
      this.lines = lines.filter((l) => l.line);
      this.band = band;
      this.marks = marks ?? this.lines.filter((l) => l.begins).map((l) => l.line[0] - 1);
      this.box.setAttribute("aria-label", label);
      this.draw();
    }
    draw() {
      if (this.plot) this.plot.destroy();
      const lines = this.lines;
      if (!lines.length) { this.plot = null; return; }
      this.first = Math.min(...lines.map((l) => l.line[0]));
      this.end = Math.max(...lines.map((l) => l.line[0] + l.line[1].length));
      const x = [];
      for (let i = this.first; i < this.end; i++) x.push(seconds(i));
      const aligned = lines.map(({ line: [start, values] }) => {
        const row = new Array(x.length).fill(null);
        values.forEach((v, i) => { row[start - this.first + i] = v; });
        return row;
      });
      const soft = colour("--soft"), grid = { stroke: colour("--grid"), width: 1 };
      const font = "12px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
      const options = {
        ...this.size(),
        tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "Etc/UTC"),
        legend: { markers: { width: 0, fill: (u, i) => colour(lines[i - 1].stroke) } },
        cursor: { y: false, drag: { x: true, y: false }, points: { size: 7 } },
        scales: { y: { range: (u, low, high) => [Math.min(0, low ?? 0), (high > 0 ? high : 1) * 1.06] } },
        axes: [
          { stroke: soft, grid: { show: false }, ticks: grid, font, values: axisDates, space: spaced },
          { stroke: soft, grid, ticks: { show: false }, font, size: (u, labels) => Math.max(this.narrow() ? 56 : 72, 14 + (this.narrow() ? 6 : 7) * Math.max(0, ...(labels || []).map((l) => l.length))), values: (u, splits) => splits.map((v) => (this.narrow() ? plainShort : short).format(v)) },
        ],
        series: [
          { label: text.period, value: (u, s) => (s == null ? "" : day(s)) },
          ...lines.map((l) => ({
            label: l.label, stroke: colour(l.stroke), width: l.width ?? 2, dash: l.dash,
            points: { show: l.line[1].length === 1 }, value: (u, v) => (v == null ? "" : amount(v)),
          })),
        ],
        bands: this.band ? [{ series: this.band.map((key) => 1 + lines.findIndex((l) => l.key === key)), fill: colour(this.fill) }] : [],
        hooks: {
          drawAxes: [(u) => {
            const pen = u.ctx;
            pen.save();
            pen.strokeStyle = soft; pen.lineWidth = 1; pen.setLineDash([4, 4]);
            this.marks.forEach((index) => {
              const after = seconds(Math.min(index + 1, page.days.length - 1));
              const left = Math.round(u.valToPos((seconds(Math.max(index, 0)) + after) / 2, "x", true));
              if (left < u.bbox.left || left > u.bbox.left + u.bbox.width) return;
              pen.beginPath(); pen.moveTo(left, u.bbox.top); pen.lineTo(left, u.bbox.top + u.bbox.height); pen.stroke();
            });
            pen.restore();
          }],
        },
      };
      this.plot = new uPlot(options, [x, ...aligned], this.box);
      this.range(this.wide);
    }
    range(wide) {
      this.wide = wide;
      this.buttons.forEach((b, i) => b.setAttribute("aria-pressed", String((i === 1) === wide)));
      if (!this.plot) return;
      const x = this.plot.data[0];
      const from = wide || !this.buttons.length ? 0 : Math.max(0, x.length - page.recent);
      this.plot.setScale("x", { min: x[from], max: x[x.length - 1] + (x.length > 1 ? 0 : DAY) });
    }
  }

  // ---- the error of each model by step ahead
  const COLOURS = 8;
  class Steps extends Chart {
    draw() {
      if (this.plot) this.plot.destroy();
      const { models, share: isShare } = page.steps, digits = { minimumFractionDigits: 3, maximumFractionDigits: 3 };
      const told = isShare ? share : new Intl.NumberFormat(page.locale, digits);
      const tick = new Intl.NumberFormat(page.locale, isShare ? { style: "percent" } : { maximumFractionDigits: 2 });
      const soft = colour("--soft"), grid = { stroke: colour("--grid"), width: 1 };
      const font = "12px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
      const steps = models[0].values.map((_, i) => i + 1);
      const strokes = models.map((m, i) => colour(m.baseline ? "--plain" : `--m${i % COLOURS}`));
      const dashes = models.map((m, i) => (m.baseline ? [6, 4] : i >= COLOURS ? [2, 3] : undefined));
      this.plot = new uPlot({
        ...this.size(),
        legend: { markers: {
          width: (u, i) => (dashes[i - 1] ? 2 : 0), stroke: (u, i) => strokes[i - 1], dash: (u, i) => (dashes[i - 1] ? "dashed" : "solid"),
          fill: (u, i) => (dashes[i - 1] ? "transparent" : strokes[i - 1]),
        } },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: { x: { time: false, range: (u, low, high) => [low - 0.2, high + 0.2] }, y: { range: (u, low, high) => [0, (high > 0 ? high : 1) * 1.06] } },
        axes: [
          { stroke: soft, grid: { show: false }, ticks: grid, font, space: 30, incrs: [1, 2, 5, 10, 20, 50, 100], values: (u, splits) => splits.map((v) => (Number.isInteger(v) && v > 0 ? count.format(v) : "")) },
          { stroke: soft, grid, ticks: { show: false }, font, size: 56, values: (u, splits) => splits.map((v) => tick.format(v)) },
        ],
        series: [
          { label: text.step, value: (u, v) => (v == null ? "" : count.format(v)) },
          ...models.map((m, i) => ({
            label: m.name, stroke: strokes[i], width: m.chosen ? 3 : 1.6,
            dash: dashes[i],
            points: { show: steps.length < 40, size: 5 }, value: (u, v) => (v == null ? "" : told.format(v)),
          })),
        ],
      }, [steps, ...models.map((m) => m.values)], this.box);
    }
    range() {}
  }

  const charts = [];
  const level = (i) => page.levels[i];

  // ---- the whole chain
  if (page.total && at("total-chart")) {
    const chart = new Chart("total-chart", "total-ranges");
    charts.push(chart);
    chart.show([
      { line: page.total.h, label: text.actual, stroke: "--actual", width: 1.6 },
      { line: page.total.y, label: text.before, stroke: "--before", width: 1.6, dash: [5, 4] },
      { line: page.total.m, label: text.mean, stroke: "--forecast", width: 2.4, begins: true },
    ], fill(text.chartOf, { shop: text.chain }));
  }

  if (page.steps && at("steps-chart")) {
    const chart = new Steps("steps-chart");
    charts.push(chart);
    const names = page.steps.models.map((m) => m.name).join(", ");
    chart.box.setAttribute("aria-label", fill(text.stepsOf, { metric: page.steps.metric, models: names }));
    chart.draw();
  }

  // ---- shop by shop
  const shops = page.shops;
  if (shops.length && at("shops")) {
    const chart = new Chart("shop-chart", "shop-ranges");
    charts.push(chart);
    const tests = at("tests") ? new Chart("tests-chart") : null;
    if (tests) {
      tests.fill = "--tested";
      charts.push(tests);
    }
    const input = at("shop-search"), list = at("shop-list");
    const SHOWN = 50;
    let current = 0, marked = -1, found = [];
    const title = (shop) => (shop.n ? `${shop.n} · ${shop.i}` : shop.i);
    const plain = (s) => s.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
    const keys = shops.map((shop) => [shop.i, plain(shop.i), plain(shop.n ?? "")]);
    const make = (tag, content, className) => {
      const element = document.createElement(tag);
      element.textContent = content;
      if (className) element.className = className;
      return element;
    };

    const facts = (shop) => {
      const rows = [];
      if (shop.e !== undefined) rows.push([text.expected, amount(shop.e)]);
      if (shop.y !== undefined) rows.push([text.yearBefore, amount(shop.y)]);
      if (shop.w !== undefined) rows.push([text.error, share.format(shop.w)]);
      if (shop.e === undefined) rows.push([text.noForecast, shop.r ?? ""]);
      if (shop.o !== undefined && shop.o !== "champion") rows.push([text.origin, page.origins[shop.o] ?? shop.o]);
      at("shop-facts").replaceChildren(...rows.map(([name, value]) => {
        const row = document.createElement("div");
        row.append(make("dt", name), make("dd", value));
        return row;
      }));
    };
    const pointName = page.point === "median" ? text.median : text.point;
    // rows: [name, cells]; made when it is opened, since tests can have many
    const table = (id, title, head, rows) => {
      const details = at(id);
      details.querySelector("summary").textContent = title;
      const top = document.createElement("tr");
      head.forEach((name) => { const th = make("th", name); th.scope = "col"; top.append(th); });
      details.querySelector("thead").replaceChildren(top);
      const filled = () => details.querySelector("tbody").replaceChildren(...rows().map(([name, cells]) => {
        const row = document.createElement("tr");
        const th = make("th", name);
        th.scope = "row";
        row.append(th, ...cells.map((cell) => make("td", cell)));
        return row;
      }));
      details.ontoggle = () => { if (details.open) filled(); };
      if (details.open) filled();
    };
    const forecastTable = (shop) => {
      at("shop-table").hidden = !shop.p;
      if (!shop.p) return;
      const columns = [[pointName, shop.p], [text.mean, shop.m]];
      if (shop.l && shop.u) columns.push([fill(text.low, { level: level(0) }), shop.l], [fill(text.high, { level: level(1) }), shop.u]);
      table("shop-table", text.table, [text.period, ...columns.map((c) => c[0])], () =>
        shop.p[1].map((_, i) => [day(seconds(shop.p[0] + i)), columns.map(([, line]) => amount(line[1][i]))]));
    };
    const valueAt = (line, index) => line?.[1][index - line[0]];
    const testsTable = (shop) => {
      at("tests-table").hidden = !shop.b;
      if (!shop.b) return;
      const columns = [[text.actual, shop.h], [pointName, shop.b]];
      if (shop.c && shop.d) columns.push([fill(text.low, { level: level(0) }), shop.c], [fill(text.high, { level: level(1) }), shop.d]);
      const known = page.cutoffs.length ? [text.known] : [];
      table("tests-table", text.testsTable, [text.period, ...known, ...columns.map((c) => c[0])], () =>
        shop.b[1].map((v, i) => [v, shop.b[0] + i]).filter(([v]) => v != null).map(([, index]) => [
          day(seconds(index)),
          [...known.map(() => day(seconds(page.cutoffs.findLast((c) => c < index)))), ...columns.map(([, line]) => amount(valueAt(line, index)))],
        ]));
    };
    // what was sold, from a little before the first test to the last one's end
    const around = ([start, values], history) => {
      if (!history) return null;
      const from = Math.max(history[0], start - 8), end = Math.min(start + values.length, history[0] + history[1].length);
      return end > from ? [from, history[1].slice(from - history[0], end - history[0])] : null;
    };
    const showTests = (shop) => {
      at("tests-none").hidden = Boolean(shop.b);
      at("tests-chart").hidden = !shop.b;
      testsTable(shop);
      if (!shop.b) return;
      const banded = Boolean(shop.c && shop.d);
      tests.show([
        { line: around(shop.b, shop.h), label: text.actual, stroke: "--actual", width: 1.6 },
        { line: shop.b, label: text.tried, stroke: "--tried", width: 2 },
        { key: "d", line: banded ? shop.d : null, label: banded ? fill(text.high, { level: level(1) }) : "", stroke: "--tested", width: 1 },
        { key: "c", line: banded ? shop.c : null, label: banded ? fill(text.low, { level: level(0) }) : "", stroke: "--tested", width: 1 },
      ], fill(text.testsOf, { shop: title(shop) }), banded ? ["d", "c"] : null, page.cutoffs.filter((c) => c >= shop.b[0] - 1));
    };
    const choose = (index) => {
      current = (index + shops.length) % shops.length;
      const shop = shops[current];
      at("shop").dataset.shop = shop.i;
      at("shop-name").textContent = shop.n ?? "";
      at("shop-id").textContent = shop.i;
      input.value = title(shop);
      facts(shop);
      forecastTable(shop);
      if (tests) showTests(shop);
      const banded = Boolean(shop.l && shop.u);
      chart.show([
        { key: "h", line: shop.h, label: text.actual, stroke: "--actual", width: 1.6 },
        { key: "p", line: shop.p, label: pointName, stroke: "--forecast", width: 2.4, begins: true },
        { key: "u", line: banded ? shop.u : null, label: banded ? fill(text.high, { level: level(1) }) : "", stroke: "--band", width: 1 },
        { key: "l", line: banded ? shop.l : null, label: banded ? fill(text.low, { level: level(0) }) : "", stroke: "--band", width: 1 },
      ], fill(text.chartOf, { shop: title(shop) }), banded ? ["u", "l"] : null);
      close();
    };

    // exact number first, then numbers that begin so, then names
    const search = (typed) => {
      const exact = typed.trim(), wanted = plain(exact);
      if (!wanted) return shops.map((_, i) => i);
      const rank = ([id, plainId, name]) =>
        id === exact ? 0 : plainId === wanted ? 1 : plainId.startsWith(wanted) ? 2 : name.startsWith(wanted) ? 3
          : wanted.split(/\s+/).every((word) => name.includes(word) || plainId.includes(word)) ? 4 : 9;
      return keys.map((key, i) => [rank(key), i]).filter(([r]) => r < 9).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, i]) => i);
    };
    const close = () => {
      list.hidden = true;
      marked = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    };
    const mark = (index) => {
      const options = list.querySelectorAll("[role=option]");
      if (!options.length) return;
      marked = (index + options.length) % options.length;
      options.forEach((o, i) => o.setAttribute("aria-selected", String(i === marked)));
      options[marked].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", options[marked].id);
    };
    const open = (typed) => {
      found = search(typed);
      const items = found.slice(0, SHOWN).map((index, i) => {
        const shop = shops[index];
        const item = document.createElement("li");
        item.id = `shop-option-${i}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", "false");
        item.append(make("span", shop.n ?? shop.i), make("span", shop.n ? shop.i : "", "id"));
        item.addEventListener("mousedown", (event) => { event.preventDefault(); choose(index); });
        return item;
      });
      if (!found.length) items.push(make("li", text.none, "quiet"));
      if (found.length > SHOWN) items.push(make("li", fill(text.more, { n: count.format(found.length - SHOWN) }), "quiet"));
      list.replaceChildren(...items);
      list.hidden = false;
      list.scrollTop = 0;
      input.setAttribute("aria-expanded", "true");
      if (typed.trim() && found.length) mark(0); else marked = -1;
    };
    input.addEventListener("focus", () => { input.select(); });
    input.addEventListener("click", () => { if (list.hidden) open(""); });
    input.addEventListener("input", () => open(input.value));
    input.addEventListener("blur", () => { input.value = title(shops[current]); close(); });
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (list.hidden) open("");
        else mark(marked < 0 && event.key === "ArrowUp" ? -1 : marked + (event.key === "ArrowDown" ? 1 : -1));
      } else if (event.key === "Enter" && !list.hidden) {
        event.preventDefault();
        if (found.length) { choose(found[Math.max(0, marked)]); input.select(); }
      } else if (event.key === "Escape") {
        input.value = title(shops[current]);
        close();
      }
    });
    at("shop-previous").addEventListener("click", () => choose(current - 1));
    at("shop-next").addEventListener("click", () => choose(current + 1));
    const note = at("zoom-note");
    note.textContent = `${text.zoom} ${note.textContent}`.trim();
    choose(0);
  }

  // ---- other light, other paper
  const redraw = () => charts.forEach((chart) => chart.draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => { document.documentElement.classList.add("print"); redraw(); });
  window.addEventListener("afterprint", () => { document.documentElement.classList.remove("print"); redraw(); });
})();
