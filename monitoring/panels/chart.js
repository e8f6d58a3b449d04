// Draws one Plotly chart and updates it in place, so that zoom and drag outlive new data.
let plotly;

function load() {
  plotly ??= fetch("./app/static/plotly-cartesian.min.js")
    .then((answer) => {
      if (!answer.ok) throw new Error(`chart library: ${answer.status}`);
      return answer.text();
    })
    .then((text) => new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      script.onload = () => done(window.Plotly);
      script.onerror = () => failed(new Error("chart library could not be run"));
      document.head.appendChild(script);
    }));
  return plotly;
}

export default function (component) {
  const { parentElement, data } = component;
  let figure = parentElement.querySelector("figure.bn-figure");
  if (!figure) {
    figure = document.createElement("figure");
    figure.className = "bn-figure";
    figure.style.margin = "0";
    figure.appendChild(document.createElement("div"));
    parentElement.appendChild(figure);
  }
  figure.setAttribute("aria-label", data.summary);
  const place = figure.firstChild;
  place.style.minHeight = `${data.figure.layout.height ?? 300}px`;
  const text = JSON.stringify(data.figure);
  if (place.dataset.drawn === text) return;
  load().then(
    (Plotly) => {
      if (place._dragging) return;
      Plotly.react(place, data.figure.data, data.figure.layout, { responsive: true, displaylogo: false });
      place.dataset.drawn = text;
    },
    (problem) => { place.textContent = problem.message; },
  );
}
