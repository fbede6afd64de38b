/** The last minute of a figure as a small line. */

const SVG = 'http://www.w3.org/2000/svg';
const POINTS = 60;
const [WIDTH, HEIGHT] = [120, 30];

/** Keeps series by name, one value a poll. */
export class History {
  constructor() {
    /** @type {Map<string, number[]>} */
    this._series = new Map();
  }

  /**
   * @param {string} name
   * @param {number} value
   * @returns {number[]} The series, newest last.
   */
  add(name, value) {
    const series = [...(this._series.get(name) ?? []), value].slice(-POINTS);
    this._series.set(name, series);
    return series;
  }

  /**
   * Forget the series of things that are gone.
   *
   * @param {Set<string>} names
   */
  keepOnly(names) {
    for (const name of this._series.keys()) if (!names.has(name)) this._series.delete(name);
  }
}

/**
 * @param {number[]} series
 * @param {number} [ceiling] Value at the top; the largest one when absent.
 * @returns {SVGSVGElement}
 */
export function sparkline(series, ceiling) {
  const top = Math.max(ceiling ?? 0, ...series, 1e-9);
  const points = series.map((value, index) => {
    const x = ((POINTS - series.length + index) / (POINTS - 1)) * WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1)}`;
  });
  const svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', class: 'spark', 'aria-hidden': 'true' });
  const firstX = points[0]?.split(',')[0] ?? '0';
  svg.append(shape('path', { d: `M${firstX},${HEIGHT} L${points.join(' L')} L${WIDTH},${HEIGHT} Z` }), shape('polyline', { points: points.join(' ') }));
  return /** @type {SVGSVGElement} */ (svg);
}

/**
 * @param {string} name
 * @param {Record<string, string>} attributes
 */
function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
