/** Line icons, drawn on a 24 by 24 grid. */

const SVG = 'http://www.w3.org/2000/svg';

/** @type {Record<string, string>} Path data by name. */
const PATHS = {
  hand: 'M7 12V6.5a1.5 1.5 0 0 1 3 0V11m0-6a1.5 1.5 0 0 1 3 0v6m0-4.500a1.500 1.500 0 0 1 3 0V12m0-3a1.500 1.500 0 0 1 3 0v5c0 4-2.500 7-6.500 7-3 0-4.700-1.300-6-3.500L4 14c-.9-1.600 1-2.900 2.200-1.600L8 14.500',
  microphone: 'M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3M6 11a6 6 0 0 0 12 0M12 17v4M9 21h6',
  microphoneOff: 'M9 9.500V6a3 3 0 0 1 6 0v5M14 13.500A3 3 0 0 1 9 11M6 11a6 6 0 0 0 9.500 5M18 11a6 6 0 0 1-.7 2.800M12 17v4M9 21h6M4 4l16 16',
  soundOn: 'M4 10v4h3l5 4V6l-5 4zM15.500 9a4 4 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11',
  soundOff: 'M4 10v4h3l5 4V6l-5 4zM16 9.500l5 5M21 9.500l-5 5',
  people: 'M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7M2.500 20c.4-4 3-6 6.500-6s6.100 2 6.500 6M16 4.500a3.500 3.500 0 0 1 0 6.500M18 14.500c2 .8 3.200 2.700 3.500 5.500',
  chat: 'M4 5h16v11H10l-4.500 4V16H4z',
  exhibit: 'M9 3h6M10 3v3c-2.500 1-4 3-4 5.500 0 3 2 5 4 6h4c2-1 4-3 4-6C18 9 16.500 7 14 6V3M8.500 21h7',
  camera: 'M3 7h12v10H3zM15 10.500l6-3v9l-6-3',
  leave: 'M14 4h5v16h-5M3 12h11M7 7.500L3 12l4 4.500',
  figures: 'M4 20V11M10 20V5M16 20v-7M22 20H2',
  help: 'M9 9a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.200-1.500 2.400M12 17.500v.5',
  expand: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  close: 'M6 6l12 12M18 6L6 18',
};

/**
 * @param {string} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  const path = document.createElementNS(SVG, 'path');
  for (const [key, value] of Object.entries({ viewBox: '0 0 24 24', fill: 'none', stroke: 'currentColor', 'aria-hidden': 'true' })) {
    svg.setAttribute(key, value);
  }
  path.setAttribute('d', PATHS[name]);
  for (const [key, value] of Object.entries({ 'stroke-width': '1.7', 'stroke-linecap': 'round', 'stroke-linejoin': 'round' })) {
    path.setAttribute(key, value);
  }
  svg.append(path);
  return svg;
}

/**
 * @param {HTMLElement} button
 * @param {string} name
 */
export function setIcon(button, name) {
  button.replaceChildren(icon(name));
}
