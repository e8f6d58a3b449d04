// How values are told: numbers with their units, ages and instants; what is unknown is a dash.

export const BLANK = "\u2013";

export const given = (value) => value !== null && value !== undefined && value !== "";
export const number = (value) => (given(value) && typeof value !== "boolean" ? Number(value) : NaN);
export const words = (value) => (given(value) && typeof value !== "object" ? String(value) : BLANK);
export const plain = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});
export const listed = (value) => (Array.isArray(value) ? value.map(plain) : []);

export function figure(value, digits, unit = "") {
  const known = number(value);
  return Number.isFinite(known) ? `${known.toFixed(digits)}${unit}` : BLANK;
}

export function signed(value, digits, unit) {
  const known = number(value);
  return Number.isFinite(known) ? `${known > 0 ? "+" : ""}${known.toFixed(digits)}${unit}` : BLANK;
}

export const percent = (fraction, digits = 1) => figure(number(fraction) * 100, digits, " %");
export const change = (fraction, digits = 2) => signed(number(fraction) * 100, digits, " %");

export function age(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 90) return `${whole} s`;
  if (whole < 5400) return `${Math.floor(whole / 60)} min`;
  return whole < 172_800 ? `${(whole / 3600).toFixed(1)} h` : `${Math.floor(whole / 86_400)} d`;
}

export function moment(text) {
  const when = new Date(text);
  return given(text) && !Number.isNaN(when.getTime()) ? `${when.toISOString().slice(0, 19).replace("T", " ")} UTC` : BLANK;
}
