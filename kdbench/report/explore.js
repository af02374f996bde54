// The interactive part of a report. Its data stand in the page; without JavaScript the section is not shown.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("explore-data").textContent);
  const section = document.getElementById("explore");
  const element = (name) => document.getElementById(name);
  const unique = (values) => [...new Set(values)];
  const style = getComputedStyle(document.documentElement);
  const tone = (name) => style.getPropertyValue(name).trim();
  const COLOURS = ["#0b6fb8", "#d1600a", "#2a8c4a", "#b3261e", "#7b4fb5", "#8a5a2b", "#c2408f", "#5f6b76"];
  const DASHES = ["solid", "dash", "dot", "dashdot"];

  // A column of a run: what filters, colours and parallel coordinates choose among.
  const columns = [
    {name: "task", of: (run) => run.task},
    {name: "role", of: (run) => run.role},
    ...data.axes.map((name) => ({name, of: (run) => run.axes[name]})),
    {name: "seed", of: (run) => run.seed},
  ].map((column) => ({...column, levels: unique(data.runs.map(column.of)).sort()}))
    .filter((column) => column.levels.length > 1);
  const costs = ["parameters", "latency", "flops", "seconds"].filter((name) => data.runs.some((run) => run[name] !== null));
  const UNITS = {parameters: "parameters", latency: "milliseconds, a batch of 1", flops: "FLOPs", seconds: "seconds of training"};

  const layout = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: tone("--ink"), size: 12},
    margin: {l: 60, r: 20, t: 20, b: 50}, legend: {orientation: "h", y: -0.25}, hovermode: "closest",
    ...more,
  });
  const axis = (title, more) => ({title: {text: title}, gridcolor: tone("--rule"), zeroline: false, automargin: true, ...more});
  const draw = (name, traces, more) => Plotly.react(name, traces, layout(more), {responsive: true, displaylogo: false});

  // Filters: a box for each level of each column.
  const boxes = columns.map((column) => {
    const set = document.createElement("fieldset");
    const legend = document.createElement("legend");
    legend.textContent = column.name;
    set.append(legend);
    const inputs = column.levels.map((level) => {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), {type: "checkbox", checked: true, value: level});
      input.dataset.column = column.name;
      label.append(input, ` ${level || "(none)"}`);
      set.append(label);
      return input;
    });
    element("filters").append(set);
    return {column, inputs};
  });
  const chosen = () => data.runs.filter((run) => boxes.every(({column, inputs}) =>
    inputs.some((input) => input.checked && input.value === column.of(run))));

  const options = (name, values, texts) => {
    const select = element(name);
    const before = select.value;
    select.replaceChildren(...values.map((value, place) =>
      Object.assign(document.createElement("option"), {value, textContent: texts ? texts[place] : value})));
    if (values.includes(before)) select.value = before;
  };
  const told = (run) => `${run.task}, ${run.cell}, seed ${run.seed}`;

  const parallel = (runs) => {
    const levels = columns.map((column) => ({
      label: column.name, values: runs.map((run) => column.levels.indexOf(column.of(run))),
      tickvals: column.levels.map((_, place) => place), ticktext: column.levels.map((level) => level || "(none)"),
      range: [-0.2, column.levels.length - 0.8],
    }));
    const numbers = [...costs, "agreement", "score"].filter((name) => runs.some((run) => run[name] !== null)).map((name) => {
      const log = name !== "agreement" && name !== "score";
      const values = runs.map((run) => run[name] === null ? NaN : log ? Math.log10(run[name]) : run[name]);
      return {label: log ? `${name} (log10)` : name, values};
    });
    draw("parallel", [{
      type: "parcoords", dimensions: [...levels, ...numbers], labelangle: -12,
      line: {color: runs.map((run) => run.score ?? 0), colorscale: "Viridis", showscale: true, colorbar: {title: {text: "score"}}},
    }], {margin: {l: 80, r: 40, t: 70, b: 30}, height: 420});
  };

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const grouped = (items, key) => [...items.reduce((found, item) => found.set(key(item), [...(found.get(key(item)) ?? []), item]), new Map()).values()];

  // The cells that were scored on every chosen task, as cells.csv has them: the mean over tasks of the mean over seeds. One
  // network has one latency, the mean over all of its runs.
  const cellsOf = (runs, cost) => {
    const scored = runs.filter((run) => run.score !== null && run[cost] !== null);
    const tasks = unique(scored.map((run) => run.task));
    const latency = new Map(grouped(scored, (run) => `${run.parameters} ${run.flops}`).flatMap((own) => {
      const found = mean(own.map((run) => run.latency));
      return own.map((run) => [run.id, found]);
    }));
    const costOf = (run) => cost === "latency" ? latency.get(run.id) : run[cost];
    return grouped(scored, (run) => `${run.role} ${run.cell}`).map((own) => {
      const each = grouped(own, (run) => run.task);
      const over = (value) => mean(each.map((one) => mean(one.map(value))));
      return {cell: own[0].cell, role: own[0].role, n: own.length, tasks: each.length, cost: over(costOf), score: 100 * over((run) => run.score)};
    }).filter((cell) => cell.tasks === tasks.length).sort((a, b) => a.cost - b.cost || b.score - a.score);
  };

  // Those that no other cell beats at the same cost or less.
  const pareto = (runs) => {
    const cost = element("cost").value;
    const cells = cellsOf(runs, cost);
    let best = -Infinity;
    const front = cells.filter((cell) => cell.score > best && (best = cell.score, true));
    const rest = cells.filter((cell) => !front.includes(cell));
    const trace = (some, more) => ({
      type: "scatter", x: some.map((cell) => cell.cost), y: some.map((cell) => cell.score),
      text: some.map((cell) => `${cell.cell} (${cell.role}, ${cell.n} runs)`), hovertemplate: "%{text}<br>%{x:.4s}: %{y:.2f} %<extra></extra>",
      ...more,
    });
    const traces = [
      trace(rest, {mode: "markers", name: "dominated", marker: {color: tone("--quiet"), symbol: "circle-open", size: 8}}),
      trace(front, {mode: "lines+markers", name: "front", line: {shape: "hv", color: COLOURS[0]}, marker: {size: 10}}),
    ];
    draw("pareto", traces, {xaxis: axis(UNITS[cost], {type: "log"}), yaxis: axis("mean score (%)"), height: 420});
  };

  const curves = (runs) => {
    const number = element("number").value;
    const column = columns.find((each) => each.name === element("colour").value);
    const seen = new Set();
    const traces = runs.filter((run) => data.curves[run.id]?.[number]).map((run) => {
      const [steps, values] = data.curves[run.id][number];
      const level = column ? column.of(run) : "";
      const place = column ? column.levels.indexOf(level) : 0;
      const first = !seen.has(level);
      seen.add(level);
      return {
        type: "scatter", mode: steps.length > 1 ? "lines" : "markers", x: steps, y: values, name: level || "(none)",
        legendgroup: level, showlegend: Boolean(column) && first, text: told(run), hovertemplate: "%{text}<br>step %{x}: %{y:.4g}<extra></extra>",
        line: {color: COLOURS[place % COLOURS.length], width: 1.4, dash: DASHES[Math.floor(place / COLOURS.length) % DASHES.length]},
      };
    });
    draw("curves", traces, {xaxis: axis("step, stages one after the other"), yaxis: axis(number), height: 420});
  };

  const examples = () => {
    const found = data.examples[element("run").value];
    const table = element("examples");
    table.replaceChildren();
    element("confusion").hidden = !found?.classes.length;
    if (!found) return;
    const row = (cells, kind) => {
      const line = document.createElement("tr");
      line.append(...cells.map((cell, place) => {
        const made = document.createElement(kind);
        made.textContent = cell ?? "";
        if (found.columns[place] === "text") made.className = "reason";
        return made;
      }));
      return line;
    };
    const head = document.createElement("thead"), body = document.createElement("tbody");
    head.append(row(found.columns, "th"));
    body.append(...found.rows.map((each) => row(each, "td")));
    table.append(head, body);
    if (found.classes.length) {
      draw("confusion", [{
        type: "heatmap", z: found.confusion, x: found.classes, y: found.classes, showscale: false,
        colorscale: [[0, tone("--paper")], [1, COLOURS[0]]],
        text: found.confusion, texttemplate: "%{text}", hovertemplate: "label %{y}, said %{x}: %{z}<extra></extra>",
      }], {xaxis: axis("the student said", {type: "category"}), yaxis: axis("label", {type: "category", autorange: "reversed"}), height: 300, width: 520});
    }
  };

  const update = () => {
    const runs = chosen();
    element("chosen").textContent = `${runs.length} of ${data.runs.length} runs chosen.`;
    options("number", unique([...data.scores, ...runs.flatMap((run) => Object.keys(data.curves[run.id] ?? {}))]));
    const shown = runs.filter((run) => data.examples[run.id]);
    options("run", shown.map((run) => run.id), shown.map((run) => `${told(run)} (${run.id})`));
    const ids = new Set(runs.map((run) => run.id));
    for (const line of document.querySelectorAll("tr[data-run]")) line.hidden = !ids.has(line.dataset.run);
    parallel(runs);
    if (costs.length) pareto(runs);
    curves(runs);
    examples();
  };

  section.hidden = false;
  options("cost", costs);
  options("colour", [...columns.map((column) => column.name), "(one colour)"]);
  element("colour").value = (columns.find((column) => data.axes.includes(column.name)) ?? {name: "(one colour)"}).name;
  element("filters").addEventListener("change", update);
  for (const name of ["cost", "number", "colour", "run"]) element(name).addEventListener("change", update);
  update();
})();
