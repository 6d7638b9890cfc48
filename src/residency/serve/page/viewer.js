// A picture and what is marked on it in, a view that zooms, moves and brightens out.
const find = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["#ffd166", "#4cc9f0", "#f78fb3", "#80ed99", "#ff9f5a", "#c8b6ff"];
const view = { scale: 1, x: 0, y: 0, width: 1, height: 1, fitted: true };
const touches = new Map();

function place() {
  find("sheet").style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  find("places").style.setProperty("--scale", view.scale);
}

export function fit() {
  const stage = find("stage");
  view.scale = Math.min(stage.clientWidth / view.width, stage.clientHeight / view.height);
  view.x = (stage.clientWidth - view.width * view.scale) / 2;
  view.y = (stage.clientHeight - view.height * view.scale) / 2;
  view.fitted = true;
  place();
}

// Zoom by a factor about a point of the stage (its middle, if none is given).
export function zoom(factor, x = find("stage").clientWidth / 2, y = find("stage").clientHeight / 2) {
  const scale = Math.min(40, Math.max(0.05, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  view.fitted = false;
  place();
}

export function move(x, y) {
  view.x += x;
  view.y += y;
  view.fitted = false;
  place();
}

export function tone() {
  const [light, contrast] = ["brightness", "contrast"].map((id) => find(id).value);
  find("shown").style.filter = `brightness(${light}%) contrast(${contrast}%)`;
}

export function resetTone() {
  find("brightness").value = find("contrast").value = 100;
  tone();
}

// Show a picture of a case (an address and its size in pixels); null: none.
export function showPicture(address, width, height) {
  find("empty").hidden = address !== null;
  find("sheet").hidden = address === null;
  hideHeat();
  markPlaces([]);
  if (address === null) return;
  find("shown").src = address;
  Object.assign(view, { width, height });
  for (const id of ["sheet", "shown", "heat"]) {
    find(id).style.width = `${width}px`;
    find(id).style.height = `${height}px`;
  }
  find("places").setAttribute("viewBox", `0 0 ${width} ${height}`);
  fit();
}

function draw(tag, values, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

// A mark's name, and its width and height where it is known how large a pixel is (mm, row and column).
function nameMark(label, points, spacing) {
  if (!spacing) return label;
  const [wide, high] = [0, 1].map((axis) => {
    const along = points.map((point) => point[axis]);
    return Number(((Math.max(...along) - Math.min(...along)) * spacing[1 - axis]).toPrecision(3));
  });
  return `${label} ${wide} × ${high} mm`.trim();
}

// Draw the boxes and outlines of answers; those of the answer in hand are stronger.
export function markPlaces(answers, current, spacing) {
  const all = answers.flatMap((answer) => [...answer.boxes, ...answer.outlines].map((mark) => ({ answer, mark })));
  const labels = [...new Set(all.map(({ mark }) => mark.label))];
  find("places").replaceChildren(...all.flatMap(({ answer, mark }) => {
    const stroke = COLOURS[labels.indexOf(mark.label) % COLOURS.length];
    const values = { stroke, fill: "none", class: answer.question === current ? "strong" : "" };
    const [x0, y0, x1, y1] = mark.xyxy ?? [];
    const points = mark.points ?? [[x0, y0], [x1, y1]];
    const [x, y] = points.reduce((best, point) => (point[1] < best[1] ? point : best));
    return [
      mark.xyxy
        ? draw("rect", { ...values, x: x0, y: y0, width: x1 - x0, height: y1 - y0 })
        : draw("polygon", { ...values, points: points.map((point) => point.join(",")).join(" ") }),
      draw("text", { x, y: Math.max(y, 8), dy: "-0.3em", fill: stroke, class: values.class }, nameMark(mark.label, points, spacing)),
    ];
  }));
}

export function hideHeat() {
  find("heat").hidden = true;
}

// Lay a coarse map (rows of 0 to 1) over the picture: yellow where much, nothing where little.
export function showHeat(rows) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [rows[0].length, rows.length];
  const pixels = new ImageData(small.width, small.height);
  rows.flat().forEach((heat, spot) => pixels.data.set([230 + 25 * heat, 30 + 165 * heat, 30, 200 * heat ** 0.8], 4 * spot));
  small.getContext("2d").putImageData(pixels, 0, 0);
  const canvas = find("heat");
  [canvas.width, canvas.height] = [16 * small.width, 16 * small.height];
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
}

// Wheel zooms, one finger or button moves, two fingers pinch, the right button changes brightness and contrast.
export function listen() {
  const stage = find("stage");
  const at = (event) => [event.clientX - stage.getBoundingClientRect().left, event.clientY - stage.getBoundingClientRect().top];
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...at(event));
  }, { passive: false });
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("dblclick", fit);
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    touches.set(event.pointerId, at(event));
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => touches.delete(event.pointerId));
  stage.addEventListener("pointermove", (event) => {
    const before = touches.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const far = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      zoom(far(now) / far(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else if (event.buttons & 2) {
      find("contrast").valueAsNumber += now[0] - before[0];
      find("brightness").valueAsNumber -= now[1] - before[1];
      tone();
    } else {
      move(now[0] - before[0], now[1] - before[1]);
    }
    touches.set(event.pointerId, now);
  });
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (!step) return;
    event.preventDefault();
    move(...step);
  });
  find("brightness").addEventListener("input", tone);
  find("contrast").addEventListener("input", tone);
  find("plain").addEventListener("click", resetTone);
  find("in").addEventListener("click", () => zoom(1.25));
  find("out").addEventListener("click", () => zoom(0.8));
  find("fit").addEventListener("click", fit);
  new ResizeObserver(() => view.fitted && fit()).observe(stage);
}
