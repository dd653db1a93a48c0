package shop

// An Answer is what a pod says about one request: who it is, whom it saw asking, and what the pod behind it said.
type Answer struct {
	Pod    string  `json:"pod"`
	Caller string  `json:"caller"` // the source address, as this pod saw it
	Next   *Answer `json:"next,omitempty"`
}

// Path lists the pods that took part, in the order in which they were asked.
func (a *Answer) Path() []string {
	var pods []string
	for ; a != nil; a = a.Next {
		pods = append(pods, a.Pod)
	}
	return pods
}
