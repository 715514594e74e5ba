//! Which methods a path has, for 405 and OPTIONS.
use std::collections::BTreeMap;

/// Path templates and the methods that each has, as `Allow` lists them.
pub struct Paths(Vec<(Vec<Segment>, String)>);

#[derive(Debug, PartialEq)]
enum Segment {
    Fixed(String),
    Any,
}

impl Paths {
    pub fn new(templates: BTreeMap<String, String>) -> Self {
        Self(templates.into_iter().map(|(template, methods)| (segments(&template), methods)).collect())
    }

    /// The methods of a path. If several templates fit, the one with the most fixed segments decides, as in the router.
    pub fn allowed(&self, path: &str) -> Option<String> {
        let parts: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        let fits = |template: &[Segment]| {
            template.len() == parts.len()
                && template.iter().zip(&parts).all(|(segment, part)| match segment {
                    Segment::Fixed(name) => name == part,
                    Segment::Any => !part.is_empty(),
                })
        };
        let fixed = |template: &[Segment]| template.iter().filter(|segment| **segment != Segment::Any).count();
        let candidates = self.0.iter().filter(|(template, _)| fits(template));
        candidates.max_by_key(|(template, _)| fixed(template)).map(|(_, methods)| methods.clone())
    }
}

fn segments(template: &str) -> Vec<Segment> {
    let segment = |part: &str| match part.starts_with('{') {
        true => Segment::Any,
        false => Segment::Fixed(part.to_owned()),
    };
    template.trim_start_matches('/').split('/').map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_fixed_template_decides() {
        let templates = [("/", "A"), ("/tasks", "B"), ("/tasks/{id}", "C"), ("/tasks/export", "D")];
        let paths = Paths::new(templates.map(|(path, methods)| (path.into(), methods.into())).into());
        for (path, methods) in [("/", "A"), ("/tasks", "B"), ("/tasks/5", "C"), ("/tasks/export", "D")] {
            assert_eq!(paths.allowed(path).as_deref(), Some(methods), "{path}");
        }
        for unknown in ["/nope", "/tasks/", "/tasks/5/6", "//tasks", "//", "", "*", "tasks"] {
            assert_eq!(paths.allowed(unknown), None, "{unknown}");
        }
    }
}
