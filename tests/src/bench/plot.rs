//! A report as a picture: how much ours takes of what the peer takes, a bar for each
//! line.

use std::fmt::Write as _;

use super::Line;

const WIDTH: usize = 860;
const BAR: usize = 18;
/// Where the bars begin, and how long one of ratio 1 is.
const LEFT: f64 = 420.0;
const ONE: f64 = 240.0;
/// Longer ones are cut.
const MOST: f64 = 1.6;

/// The lines of `metric` that have a peer, as an SVG.
pub(super) fn svg(lines: &[Line], metric: &str) -> Option<String> {
    let shown: Vec<(&str, f64)> = lines
        .iter()
        .filter(|line| line.metric == metric)
        .filter_map(|line| Some((&*line.case, line.ratio?)))
        .collect();
    if shown.is_empty() {
        return None;
    }
    let height = (shown.len() + 2) * BAR;
    let mut svg = blank(WIDTH, height);
    let one = LEFT + ONE;
    let _ = writeln!(
        svg,
        r##"<text x="{one}" y="14" text-anchor="middle" fill="#555">the peer's {metric}</text>"##
    );
    for (n, (case, ratio)) in shown.iter().enumerate() {
        let top = (n + 1) * BAR + 4;
        let base = top + 12;
        let len = ratio.min(MOST) * ONE;
        let (label, value) = (LEFT - 8.0, LEFT + len + 6.0);
        let color = if *ratio <= 1.0 { "#2a7f62" } else { "#b5532a" };
        let case = escaped(case);
        let _ = writeln!(
            svg,
            r#"<text x="{label}" y="{base}" text-anchor="end">{case}</text><rect x="{LEFT}" y="{top}" width="{len:.1}" height="14" fill="{color}"/><text x="{value:.1}" y="{base}">{ratio:.2}</text>"#
        );
    }
    let _ = writeln!(
        svg,
        r##"<line x1="{one}" y1="18" x2="{one}" y2="{height}" stroke="#555" stroke-dasharray="3 3"/></svg>"##
    );
    Some(svg)
}

/// The beginning of a picture of so many pixels.
pub(super) fn blank(width: usize, height: usize) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

/// A text as a picture has it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(case: &str, ratio: Option<f64>) -> Line {
        Line {
            case: case.into(),
            metric: "cpu",
            unit: "us",
            ours: 1.0,
            peer: None,
            ratio,
        }
    }

    #[test]
    fn each_line_with_a_peer_has_a_bar() {
        let lines = [line("a <b>", Some(0.5)), line("alone", None)];
        let picture = svg(&lines, "cpu").unwrap();
        assert_eq!(picture.matches("height=\"14\"").count(), 1);
        assert!(picture.contains("a &lt;b>") && picture.contains(r#"width="120.0""#));
        assert!(svg(&lines, "rate").is_none());
    }
}
