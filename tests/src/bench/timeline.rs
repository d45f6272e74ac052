//! What goes on over time as a picture: panels of lines above each other, and shades
//! where something happened to all of them.

use std::fmt::Write as _;
use std::time::Duration;

use super::plot::{blank, escaped};

/// A picture to be.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Its first line.
    pub title: String,
    /// What happened when.
    pub spans: Vec<Span>,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

/// Something that happened for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// From when, since the beginning.
    pub from: Duration,
    /// Until when.
    pub to: Duration,
    /// What.
    pub label: String,
}

/// Lines over one axis.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What the lines are of.
    pub title: &'static str,
    /// What they are measured in.
    pub unit: &'static str,
    /// Whether equal heights are equal ratios.
    pub logarithmic: bool,
    /// In the order of their colors.
    pub lines: Vec<Line>,
}

/// A value for each second, where there is one.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub name: &'static str,
    /// By second from the beginning.
    pub points: Vec<Option<f64>>,
}

const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const HEIGHT: f64 = 150.0;
const GAP: f64 = 34.0;
/// Of a list of what happened, below the panels.
const ROW: f64 = 15.0;
const COLORS: [&str; 3] = ["#2a7f62", "#b5532a", "#4659a8"];

impl Timeline {
    /// The picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let lines = self.panels.iter().flat_map(|panel| &panel.lines);
        let points = lines.map(|line| line.points.len()).max().unwrap_or(0);
        let ends = self.spans.iter().map(|span| span.to.as_secs_f64());
        let seconds = ends.fold(points.max(1) as f64, f64::max);
        let inner = (seconds * 8.0).clamp(700.0, 2_400.0);
        let x = |second: f64| LEFT + second / seconds * inner;
        let bottom = TOP + self.panels.len() as f64 * (HEIGHT + GAP);
        let height = bottom + self.spans.len() as f64 * ROW + GAP;
        let mut svg = blank((LEFT + inner + RIGHT) as usize, height as usize);
        let _ = writeln!(
            svg,
            r#"<text x="{LEFT}" y="16">{}</text>"#,
            escaped(&self.title)
        );
        for (n, span) in self.spans.iter().enumerate() {
            let (from, to) = (x(span.from.as_secs_f64()), x(span.to.as_secs_f64()));
            let (long, wide) = (bottom - GAP - TOP, (to - from).max(1.0));
            let _ = writeln!(
                svg,
                r##"<rect x="{from:.1}" y="{TOP}" width="{wide:.1}" height="{long}" fill="#d9b310" fill-opacity="0.3"/><text x="{from:.1}" y="{}" font-size="10">{}</text>"##,
                TOP - 4.0,
                n + 1
            );
            let _ = writeln!(
                svg,
                r#"<text x="{LEFT}" y="{:.1}" font-size="11">{}: {:.1} s to {:.1} s, {}</text>"#,
                bottom + (n + 1) as f64 * ROW,
                n + 1,
                span.from.as_secs_f64(),
                span.to.as_secs_f64(),
                escaped(&span.label)
            );
        }
        for (n, panel) in self.panels.iter().enumerate() {
            let top = TOP + n as f64 * (HEIGHT + GAP);
            panel.draw(&mut svg, top, inner, x);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, top: f64, inner: f64, x: impl Fn(f64) -> f64) {
        let values = self.lines.iter().flat_map(|line| &line.points).flatten();
        let most = values.clone().copied().fold(1.0, f64::max);
        let least = values.copied().filter(|value| *value > 0.0);
        let least = least.fold(most, f64::min);
        let share = |value: f64| match self.logarithmic {
            false => value / most,
            true if most > least => (value.max(least) / least).ln() / (most / least).ln(),
            true => 1.0,
        };
        let y = |value: f64| top + HEIGHT * (1.0 - share(value));
        let (base, right) = (top + HEIGHT, LEFT + inner);
        let _ = writeln!(
            svg,
            r##"<path d="M{LEFT} {top}V{base}H{right}" fill="none" stroke="#555"/>"##
        );
        let low = if self.logarithmic { least } else { 0.0 };
        for value in [low, most] {
            let _ = writeln!(
                svg,
                r#"<text x="{}" y="{:.1}" text-anchor="end">{} {}</text>"#,
                LEFT - 4.0,
                y(value) + 4.0,
                shown(value),
                self.unit
            );
        }
        let mut place = LEFT + 8.0;
        let mut word = |svg: &mut String, text: &str, color: &str| {
            let _ = writeln!(
                svg,
                r#"<text x="{place}" y="{:.1}" fill="{color}">{text}</text>"#,
                base + 14.0
            );
            place += 8.0 * (text.len() + 2) as f64;
        };
        word(svg, self.title, "#222");
        for (line, color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            word(svg, line.name, color);
            let _ = writeln!(
                svg,
                r#"<path d="{}" fill="none" stroke="{color}"/>"#,
                path(&line.points, &x, y)
            );
        }
    }
}

/// A line that is broken where there is no value.
fn path(points: &[Option<f64>], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let (mut path, mut drawn) = (String::new(), false);
    for (second, value) in points.iter().enumerate() {
        let Some(value) = value else {
            drawn = false;
            continue;
        };
        let (from, to, y) = (x(second as f64), x(second as f64 + 1.0), y(*value));
        let verb = if drawn { 'L' } else { 'M' };
        let _ = write!(path, "{verb}{from:.1} {y:.1}H{to:.1}");
        drawn = true;
    }
    path
}

fn shown(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(logarithmic: bool, points: Vec<Option<f64>>) -> Panel {
        Panel {
            title: "rate",
            unit: "1/s",
            logarithmic,
            lines: vec![Line {
                name: "p50",
                points,
            }],
        }
    }

    #[test]
    fn spans_are_shades_and_gaps_break_lines() {
        let points = vec![Some(1.0), Some(4.0), None, Some(2.0)];
        let picture = Timeline {
            title: "a <b>".into(),
            spans: vec![Span {
                from: Duration::from_secs(1),
                to: Duration::from_secs(3),
                label: "kill n1".into(),
            }],
            panels: vec![panel(false, points.clone()), panel(true, points)],
        };
        let svg = picture.svg();
        assert!(svg.contains("a &lt;b>") && svg.contains("1.0 s to 3.0 s, kill n1"));
        assert_eq!(svg.matches("fill-opacity").count(), 1);
        // Of four points in a width of 700 the third is missing.
        let width = 700.0 / 4.0;
        let again = LEFT + 3.0 * width;
        assert_eq!(svg.matches(&format!("M{again:.1} ")).count(), 2);
        // The greatest is at the top of the first panel.
        assert!(
            svg.contains(&format!("L{:.1} {TOP:.1}H", LEFT + width)),
            "{svg}"
        );
    }

    #[test]
    fn nothing_is_a_picture_too() {
        let empty = |logarithmic| Timeline {
            title: String::new(),
            spans: Vec::new(),
            panels: vec![panel(logarithmic, Vec::new())],
        };
        assert!(!empty(false).svg().contains("NaN"));
        assert!(!empty(true).svg().contains("NaN"));
    }
}
