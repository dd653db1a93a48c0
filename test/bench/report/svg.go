package report

import (
	"html/template"
	"io"
)

// picture is all plots side by side, for places that show an image but no page.
type picture struct {
	Report        Report
	Width, Height float64
	Foot          float64
	Names         []name
	Plots         []placed
}

type name struct {
	Series int
	X      float64
	Name   string
}

type placed struct {
	Plot plot
	X, Y float64
}

// WriteSVG prints the plots of the page as one image, which follows the reader's light or dark colours.
func (r Report) WriteSVG(w io.Writer) error {
	const margin, letter, columns = 24, 9, 2
	t, err := template.ParseFS(templates, "picture.svg", "parts.html")
	if err != nil {
		return err
	}
	p := picture{Report: r, Width: margin + columns*(plotWidth+margin)}
	x := float64(margin)
	for i, n := range r.proxies() {
		p.Names = append(p.Names, name{i, x, n})
		x += float64(letter*len(n) + 2*margin)
	}
	y := 68.
	for i, pl := range r.plots() {
		p.Plots = append(p.Plots, placed{pl, float64(margin + i%columns*(plotWidth+margin)), y})
		if i%columns == columns-1 {
			y += pl.Height + 2*margin
		}
	}
	p.Foot, p.Height = y, y+margin
	return t.Execute(w, p)
}
