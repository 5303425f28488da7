"""An inspection in words and figures, for the terminal and the page alike."""

from anerf.products.coverage_summary import PartitionCoverage, Seen
from anerf.products.inspection import Flight, Inspection, Lens
from anerf.scene.georeference import Residual

MARKS = {"stop": "\u2716 stop", "warning": "\u25b2 warning", "note": "\u2022 note"}
COVERAGE_COLUMNS = "A split's column: photographs that an expert sees, megapixels of them."
FIGURES_MEAN = (
    "GPS against cameras: rms and median are distances on the map, height offset is the median of GPS minus "
    "camera, spread reaches from its 5th to its 95th percentile. Tilt is that of the ground."
)


def verdict(inspection: Inspection) -> str:
    """In a few words, how many findings of which kind there are."""
    stops, warnings = inspection.count("stop"), inspection.count("warning")
    words = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((stops, "stop"), (warnings, "warning")) if n]
    return f"{len(inspection.scene.frames)} photographs, " + (" and ".join(words) or "no warnings")


def lens_words(lens: Lens) -> str:
    """A camera in words."""
    low, high = lens.focal_px
    focal = f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"
    return f"{lens.model} {lens.width_px} x {lens.height_px} px, focal length {focal} px"


def captured_words(flight: Flight) -> str | None:
    """When a flight was, by the cameras' clocks; None where no camera recorded it."""
    return f"{flight.captured[0]} to {flight.captured[1]}" if flight.captured else None


def seen_words(seen: Seen) -> str:
    """How many photographs, how many megapixels."""
    return f"{seen.photographs}, {seen.pixels / 1e6:.3g}"


def coverage_notes(coverage: PartitionCoverage) -> list[str]:
    """What people should know about a partition's coverage."""
    notes = []
    if coverage.imbalance is not None:
        notes.append(
            f"The busiest expert sees {coverage.imbalance:.2f} times as many pixels of train as the mean "
            "expert."
        )
    notes += [
        f"The photographs of {split} came after this partition was made: no coverage is known of them."
        for split in coverage.later
    ]
    notes += [f"{n} photographs of {split} are seen by no expert." for split, n in coverage.unseen.items()]
    return notes


def figures(flight: Flight) -> dict[str, str]:
    """What `georeference` measured, by short names; a dash where something for it is missing."""
    found = flight.georeference
    return {
        "with GPS": f"{len(found.residuals)} of {found.n_photographs}",
        "rms": _shown(found.horizontal_rms_m, ".1f", " m"),
        "median": _shown(found.horizontal_median_m, ".1f", " m"),
        "height offset": _shown(found.height_offset_m, "+.1f", " m"),
        "height spread": _shown(found.height_spread_m, ".1f", " m"),
        "scale": _shown(found.scale, ".4f", ""),
        "turn": _shown(found.turn_deg, "+.1f", "\u00b0"),
        "tilt": _shown(found.tilt_deg, ".1f", "\u00b0"),
    }


def worst_residuals(flight: Flight, most: int) -> list[Residual]:
    """Of the photographs that are furthest from their GPS on the map, the furthest first."""
    return sorted(flight.georeference.residuals, key=lambda residual: residual.horizontal_m, reverse=True)[
        :most
    ]


def _shown(value: float | None, form: str, unit: str) -> str:
    return "\u2013" if value is None else f"{value:{form}}{unit}"
