#ifndef LUMEN_PROFILE_H
#define LUMEN_PROFILE_H

#include <string>

namespace lumen {

struct Profile {
    int threshold = 220;
    int smallest = 1;
};

// False if the file cannot be read or holds anything unknown; `error` says what.
bool readProfile(const std::string &path, Profile &profile, std::string &error);

}  // namespace lumen

#endif
