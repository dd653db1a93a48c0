module espalier

go 1.26.8
