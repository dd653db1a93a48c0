// Package convert turns API objects into checked values of proxier/model. It is the only place that reads the
// fields of API objects.
//
// Every function is pure: it knows neither where the object came from nor what was there before. Objects from a
// file have not passed the validation and the defaulting of an API server, so nothing is taken for granted: a
// missing field has its API default, and an item that is wrong is left out, alone, with one Problem that names
// object, field and consequence. No input makes these functions panic.
//
// The rule to respect: what leaves this package is safe to print into iptables input. Addresses are unmapped
// and of the right family, ports are not zero, names are DNS labels.
package convert
