package policy

// FromContainersWith lets tests say what is in files.
var FromContainersWith = fromContainers

// Within and Overlap compare two patterns without a tag.
func Within(a, b string) bool  { return within(tokens(a), tokens(b)) }
func Overlap(a, b string) bool { return overlap(tokens(a), tokens(b)) }
