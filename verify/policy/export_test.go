package policy

// FromContainersWith lets tests say what is in files.
var FromContainersWith = fromContainers
